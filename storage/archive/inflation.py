"""Reading inside a deflated data set (PS3.5 A.5): inflated from its beginning, kept only where asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from storage.model import ByteSpan

PIECE_BYTES = 1 << 20


def inflated_spans(pieces: Iterable[bytes], spans: Iterable[ByteSpan]) -> bytes:
    """Parts of what `pieces` inflate to, joined; the spans ascend and do not overlap. EOFError when it ends before."""
    stream, position, buffer, found = _inflate(pieces), 0, b"", []
    for span in spans:
        end = span.offset + span.length
        while position + len(buffer) < end:
            kept = buffer[max(0, span.offset - position) :]
            position += len(buffer) - len(kept)
            buffer = kept + _next(stream)
        found.append(buffer[span.offset - position : end - position])
    return b"".join(found)


def _next(stream: Iterator[bytes]) -> bytes:
    piece = next(stream, None)
    if piece is None:
        raise EOFError("The deflated data set is shorter than the catalog says.")
    return piece


def _inflate(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in pieces:
        feed = piece
        while feed and not inflater.eof:
            yield inflater.decompress(feed, PIECE_BYTES)
            feed = inflater.unconsumed_tail
    yield inflater.flush()
