"""Random access to the bytes of one instance, wherever they are: in memory, in a file, or behind deflate.

Offsets are counted from the first byte of the source; in an inflated data set, from its own first byte.
An `Octets` belongs to one thread.
"""

from __future__ import annotations

import io
import mmap
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from storage.unusable import InstanceTooLarge, Malformed, OverLimit

Source = bytes | bytearray | memoryview | mmap.mmap | BinaryIO

WINDOW_BYTES = 64 * 1024  # one read of a file: most headers fit into it
NEAR_BYTES = WINDOW_BYTES // 2  # what a window promises from the offset asked for
KEPT_BYTES = 8 * 1024 * 1024  # an inflated data set up to this size stays in memory; a larger one is inflated again
FEED_BYTES = 64 * 1024  # deflated input taken at a time
TRAILER_BYTES = 8  # the padding byte of PS3.5 A.5, or the checksum and length that writers take over from gzip
PIECE_BYTES = 256 * 1024  # inflated output made at a time: what a bomb may cost before it is counted


class Octets(Protocol):
    """Bytes that can be read at any offset."""

    size: int

    def window(self, offset: int) -> tuple[bytes | mmap.mmap, int]:
        """A buffer that holds the bytes from `offset` (32 KiB of them, or all that follow), and its own offset."""

    def glance(self, offset: int, length: int) -> bytes:
        """Like `read`, for a few bytes whose neighbours will not be asked for."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; Malformed when the source ends before."""


class _MemoryOctets:
    def __init__(self, buffer: bytes | mmap.mmap) -> None:
        self._buffer = buffer
        self.size = len(buffer)

    def window(self, offset: int) -> tuple[bytes | mmap.mmap, int]:  # noqa: ARG002 - the whole is the window
        return self._buffer, 0

    def read(self, offset: int, length: int) -> bytes:
        value = self._buffer[offset : offset + length]
        if len(value) != length:
            raise Malformed(f"The instance ends inside a value at byte {offset}.")
        return value

    glance = read


class _FileOctets:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        self._buffer, self._start = b"", 0

    def window(self, offset: int) -> tuple[bytes, int]:
        end = self._start + len(self._buffer)
        if offset < self._start or end < min(offset + NEAR_BYTES, self.size):
            self._file.seek(offset)
            self._buffer, self._start = self._file.read(WINDOW_BYTES), offset
        return self._buffer, self._start

    def read(self, offset: int, length: int) -> bytes:
        index = offset - self._start
        if index < 0 or index + length > len(self._buffer):
            return self._read_beyond(offset, length)
        return self._buffer[index : index + length]

    def _read_beyond(self, offset: int, length: int) -> bytes:
        if length > NEAR_BYTES:
            return self.glance(offset, length)
        buffer, start = self.window(offset)
        value = buffer[offset - start : offset - start + length]
        if len(value) != length:
            raise Malformed(f"The instance ends inside a value at byte {offset}.")
        return value

    def glance(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:  # before any allocation: the length may be a lie
            raise Malformed(f"The instance ends inside a value at byte {offset}.")
        self._file.seek(offset)
        value = self._file.read(length)
        if len(value) != length:
            raise Malformed(f"The file became shorter while it was read, at byte {offset}.")
        return value


class _InflatedOctets:
    """A large deflated data set: inflated from its beginning whenever an earlier byte is asked for again."""

    def __init__(self, deflated: Octets, offset: int, size: int) -> None:
        self._deflated, self._offset, self.size = deflated, offset, size
        self._restart()

    def _restart(self) -> None:
        self._pieces = _inflated_pieces(self._deflated, self._offset)
        self._buffer, self._start = b"", 0

    def window(self, offset: int) -> tuple[bytes, int]:
        if offset < self._start:
            self._restart()
        wanted = min(offset + NEAR_BYTES, self.size)
        while self._start + len(self._buffer) < wanted:
            rest = self._buffer[max(0, offset - self._start) :]
            self._start += len(self._buffer) - len(rest)
            self._buffer = rest + next(self._pieces)
        return self._buffer, self._start

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise Malformed(f"The instance ends inside a value at byte {offset}.")
        parts, position = [], offset
        while position < offset + length:
            buffer, start = self.window(position)
            parts.append(buffer[position - start : offset + length - start])
            position += len(parts[-1])
        return b"".join(parts)

    glance = read


def open_octets(source: Source) -> Octets:
    """Random access to `source`, which stays open and keeps its bytes for as long as the answer is used."""
    if isinstance(source, bytes | mmap.mmap):
        return _MemoryOctets(source)
    if isinstance(source, bytearray | memoryview):
        return _MemoryOctets(bytes(source))
    return _FileOctets(source)


def inflate(deflated: Octets, offset: int, *, limit: int, object_limit: int) -> Octets:
    """The data set deflated from `offset` on (PS3.5 A.5), measured first so that no bomb is kept.

    Raises OverLimit when it inflates to more than `limit` bytes, InstanceTooLarge beyond `object_limit`, and Malformed
    when the deflate stream is broken or followed by more than a trailer.
    """
    size, kept = 0, []
    for piece in _inflated_pieces(deflated, offset):
        size += len(piece)
        if size > object_limit:
            raise InstanceTooLarge
        if size > limit:
            raise OverLimit("The deflated data set inflates to far more than an image does.")
        if size <= KEPT_BYTES:
            kept.append(piece)
        else:
            kept.clear()
    return _MemoryOctets(b"".join(kept)) if size <= KEPT_BYTES else _InflatedOctets(deflated, offset, size)


def _inflated_pieces(deflated: Octets, offset: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position = offset
    try:
        while not inflater.eof:
            feed = inflater.unconsumed_tail
            if not feed:
                feed = deflated.read(position, min(FEED_BYTES, deflated.size - position))
                position += len(feed)
            piece = inflater.decompress(feed, PIECE_BYTES)
            if piece:
                yield piece
            elif not feed:
                raise Malformed("The deflated data set ends too early.")
    except zlib.error as broken:
        raise Malformed("The deflated data set cannot be inflated.") from broken
    if deflated.size - position + len(inflater.unused_data) > TRAILER_BYTES:
        raise Malformed("Other bytes follow the deflated data set.")
