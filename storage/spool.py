"""Where received bytes wait until they are known to be good: files in `tmp` that nothing else can name.

Each process has a folder of its own there and holds a lock on it; a folder whose lock is free belonged to a process
that is dead, and is swept away.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from storage.checksums import Checksums
from storage.durable import Sync, Writability
from storage.space import Space
from storage.unusable import InstanceTooLarge

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What bounds a file that is being received: the disk's health, its free space, the largest instance, bytes."""

    writability: Writability
    space: Space
    object_limit_bytes: int

    def require(self, received: int, more: int) -> None:
        """Raises InstanceTooLarge, StoreFull, ReadOnly when so many bytes more may not be written."""
        self.writability.require()
        if received + more > self.object_limit_bytes:
            raise InstanceTooLarge
        with self.writability.guard():
            self.space.require(more)


class Staged:
    """Bytes that were received: where they wait, and what they must be.

    `write` adds bytes; `sync` makes them durable; `remove` gives the temporary name back.
    """

    def __init__(self, path: Path, room: Room, checksums: Checksums | None = None) -> None:
        self.path = path
        self._room = room
        self._measured = checksums is not None
        self.checksums = checksums or Checksums()
        with room.writability.guard():
            self._fd: int | None = os.open(path, _CREATE, 0o600)

    @property
    def size_bytes(self) -> int:
        """Bytes received so far."""
        return self.checksums.size_bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of them."""
        return self.checksums.digest

    @property
    def chunk_crcs(self) -> bytes:
        """CRC32C of each MiB of them, 4 bytes each, big endian."""
        return self.checksums.chunk_crcs

    def write(self, piece: bytes) -> None:
        """Receive the next bytes. Raises InstanceTooLarge, StoreFull, ReadOnly."""
        assert self._fd is not None, "bytes came after the end"
        self._room.require(0 if self._measured else self.size_bytes, len(piece))
        view = memoryview(piece)
        with self._room.writability.guard():
            while view:
                view = view[os.write(self._fd, view) :]
        if not self._measured:
            self.checksums.update(piece)

    def sync(self, sync: Sync) -> None:
        """The bytes are on the disk; nothing can be added. Raises OSError, after which they must be given up."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                sync.file(fd)
            finally:
                os.close(fd)

    def remove(self) -> None:
        """Give the temporary name back; bytes that were not kept elsewhere are gone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self.path.unlink(missing_ok=True)


class Spool:
    """This process's folder below `tmp`.

    Raises
    ------
    StoreFull, ReadOnly : the folder cannot be made
    """

    def __init__(self, tmp: Path, room: Room) -> None:
        self._room = room
        with room.writability.guard():
            self.folder, self._lock = _claim(tmp)

    def stage(self, pieces: Iterable[bytes] = ()) -> Staged:
        """A new file with these bytes, to which more may be written. Raises InstanceTooLarge, StoreFull, ReadOnly."""
        return self._fill(Staged(self._new_path(), self._room), pieces)

    def stage_measured(self, data: bytes, checksums: Checksums) -> Staged:
        """A new file with exactly these bytes, whose checksums are known. Raises as `stage`."""
        return self._fill(Staged(self._new_path(), self._room, checksums), [data])

    def close(self) -> None:
        """Remove the folder and what still waits in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _new_path(self) -> Path:
        self._room.writability.require()
        return self.folder / secrets.token_hex(16)

    def _fill(self, staged: Staged, pieces: Iterable[bytes]) -> Staged:
        try:
            for piece in pieces:
                staged.write(piece)
        except BaseException:
            staged.remove()
            raise
        return staged


def sweep(tmp: Path) -> int:
    """Remove the folders of dead processes; gives how many files were in them."""
    removed = 0
    for folder in tmp.iterdir():
        lock = _try_lock(folder)
        if lock is not None:
            removed += sum(1 for _ in folder.iterdir())
            shutil.rmtree(folder)
            os.close(lock)
    return removed


def left_over(tmp: Path) -> int:
    """How many files of dead processes wait for the next sweep."""
    number = 0
    for folder in tmp.iterdir():
        lock = _try_lock(folder)
        if lock is not None:
            number += sum(1 for _ in folder.iterdir())
            os.close(lock)
    return number


def _claim(tmp: Path) -> tuple[Path, int]:
    while True:
        folder = tmp / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        lock = _try_lock(folder)
        if lock is not None:
            if os.fstat(lock).st_nlink:  # a sweeper may have taken it for a dead one's in between
                return folder, lock
            os.close(lock)


def _try_lock(folder: Path) -> int | None:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
