"""What tells whether bytes are still those that were stored: one SHA-256, and a CRC32C for each MiB of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import google_crc32c

CHUNK_BYTES = 1 << 20
"""One CRC32C covers so many bytes of a file (the last one fewer): also the most that is read before it is checked."""

CRC_BYTES = 4

crc32c = google_crc32c.value
"""The CRC32C of a `bytes` object."""


class Checksums:
    """Digest and chunk checksums of bytes that pass by."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._crc = 0
        self._crcs = bytearray()

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._sha256.update(piece)
        room = CHUNK_BYTES - self.size_bytes % CHUNK_BYTES
        for part in _cut(piece, room):
            self._crc = google_crc32c.extend(self._crc, part)
            self.size_bytes += len(part)
            if self.size_bytes % CHUNK_BYTES == 0:
                self._crcs += self._crc.to_bytes(CRC_BYTES, "big")
                self._crc = 0

    @property
    def digest(self) -> bytes:
        """SHA-256 of what passed by."""
        return self._sha256.digest()

    @property
    def chunk_crcs(self) -> bytes:
        """CRC32C of each MiB, 4 bytes each, big endian."""
        rest = self._crc.to_bytes(CRC_BYTES, "big") if self.size_bytes % CHUNK_BYTES else b""
        return bytes(self._crcs) + rest


def chunk_count(size_bytes: int) -> int:
    """How many chunks a file of that size has."""
    return -(-size_bytes // CHUNK_BYTES)


def _cut(piece: bytes, room: int) -> Iterator[bytes]:
    if len(piece) <= room:
        if piece:
            yield piece
        return
    yield piece[:room]
    for start in range(room, len(piece), CHUNK_BYTES):
        yield piece[start : start + CHUNK_BYTES]
