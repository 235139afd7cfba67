"""The bytes of one received instance: in memory while they are few, in the spool when they are many."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from storage.checksums import CHUNK_BYTES, Checksums
from storage.object_folder import READ_FLAGS
from storage.spool import Spool, Staged

SMALL_BYTES: Final = 4 * CHUNK_BYTES
"""An instance up to this size is looked at in memory, and written when it is known to be good."""

Source = Path | bytes | BinaryIO | Staged

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in the place of a file must not make an import wait


class Unreadable(Exception):
    """What was to be received cannot be read."""


@dataclass(slots=True, kw_only=True)
class Content:
    """Bytes with their measure. Exactly one of `data` and `staged` is there until `stage` has been called."""

    checksums: Checksums
    data: bytes | None = None
    staged: Staged | None = None

    @contextmanager
    def opened(self) -> Iterator[bytes | BinaryIO]:
        """The bytes for a reader."""
        if self.data is not None:
            yield self.data
        else:
            assert self.staged is not None
            with os.fdopen(os.open(self.staged.path, READ_FLAGS), "rb", buffering=0) as file:
                yield file

    def digest_from(self, offset: int) -> bytes:
        """SHA-256 of the bytes from `offset` on."""
        if self.data is not None:
            return hashlib.sha256(memoryview(self.data)[offset:]).digest()
        sha256 = hashlib.sha256()
        with self.opened() as file:
            assert not isinstance(file, bytes)
            file.seek(offset)
            while piece := file.read(CHUNK_BYTES):
                sha256.update(piece)
        return sha256.digest()

    def stage(self, spool: Spool) -> Staged:
        """The bytes in the spool. Raises InstanceTooLarge, StoreFull, ReadOnly."""
        if self.staged is None:
            assert self.data is not None
            self.staged = spool.stage_measured(self.data, self.checksums)
        return self.staged


def receive(source: Source, spool: Spool) -> Content:
    """Take in the bytes of `source` to their end; a stream is closed then.

    Raises
    ------
    Unreadable : the source cannot be read to its end
    InstanceTooLarge, StoreFull, ReadOnly : there is no place for so many
    """
    if isinstance(source, Staged):
        return Content(checksums=source.checksums, staged=source)
    if isinstance(source, bytes):
        return _in_memory(source)
    with _opened(source) as file:
        start = _read(file, SMALL_BYTES + 1)
        if len(start) <= SMALL_BYTES:
            return _in_memory(start)
        staged = spool.stage(_chain(start, file))
    return Content(checksums=staged.checksums, staged=staged)


def _in_memory(data: bytes) -> Content:
    checksums = Checksums()
    checksums.update(data)
    return Content(checksums=checksums, data=data)


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        with source:
            yield source
        return
    try:
        with os.fdopen(os.open(source, _OPEN), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("This is not a file.")
            yield file
    except OSError as error:
        raise Unreadable(f"The file cannot be read: {error.strerror}.") from error


def _read(file: BinaryIO, most: int) -> bytes:
    """Up to `most` bytes, fewer only at the end of the file."""
    try:
        data = file.read(most)
        if len(data) in {0, most}:
            return data
        parts, size = [data], len(data)
        while size < most and (data := file.read(most - size)):
            parts.append(data)
            size += len(data)
        return b"".join(parts)
    except (OSError, EOFError, ValueError) as error:
        raise Unreadable("The bytes could not be read to their end.") from error


def _chain(start: bytes, file: BinaryIO) -> Iterator[bytes]:
    view = io.BytesIO(start)
    while piece := view.read(CHUNK_BYTES):
        yield piece
    while piece := _read(file, CHUNK_BYTES):
        yield piece
