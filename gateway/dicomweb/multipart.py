"""multipart/related bodies (RFC 2387, PS3.18 8.6.1.2): part headers and part bytes, never joined, never buffered.

The length of every part is known before it is read, so the whole body has a Content-Length: a client can tell a
download that was cut from one that ended.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: its media type, where it can be asked for alone, its length in bytes if known, and its bytes."""

    content_type: str
    location: str
    length: int | None
    pieces: Callable[[], AsyncIterator[Piece]]


class Multipart:
    """A body of parts with one random boundary."""

    def __init__(self, parts: Iterable[Part], *, related_type: str, parameters: str = "") -> None:
        self._parts = list(parts)
        self._boundary = secrets.token_hex(16)
        self.media_type = f'multipart/related; type="{related_type}"{parameters}; boundary={self._boundary}'
        self._headers = [self._header(part, first=n == 0) for n, part in enumerate(self._parts)]
        self._end = f"\r\n--{self._boundary}--\r\n".encode()

    @property
    def length(self) -> int | None:
        """Length of the whole body in bytes, or None when a part's is not known."""
        total = len(self._end)
        for header, part in zip(self._headers, self._parts, strict=True):
            if part.length is None:
                return None
            total += len(header) + part.length
        return total

    async def pieces(self) -> AsyncIterator[Piece]:
        """The body, piece by piece."""
        for header, part in zip(self._headers, self._parts, strict=True):
            yield header
            async for piece in part.pieces():
                yield piece
        yield self._end

    def _header(self, part: Part, *, first: bool) -> bytes:
        lines = ["" if first else "\r\n", f"--{self._boundary}\r\n", f"Content-Type: {part.content_type}\r\n"]
        if part.length is not None:
            lines.append(f"Content-Length: {part.length}\r\n")
        lines.append(f"Content-Location: {part.location}\r\n\r\n")
        return "".join(lines).encode("ascii")
