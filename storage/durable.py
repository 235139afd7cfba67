"""What makes bytes survive a power cut, and the latch that stops a node whose disk failed to do it.

After a failed fsync the page cache may hold clean pages that never reached the disk, so a second fsync would lie:
nothing here is retried. The first such failure makes the node read-only until it is started again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import ArchiveAway, ReadOnly, StorageError, StoreFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class Sync:
    """The two calls that durability rests on. A test of the tests may pass one that leaves a call out."""

    def file(self, fd: int) -> None:
        """The file's bytes and size are on the disk."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # where fsync stops at the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def directory(self, path: Path) -> None:
        """The names in this directory are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class Writability:
    """Whether this node still accepts images: a latch that only a new start opens again."""

    def __init__(self) -> None:
        self.fault: str | None = None

    def require(self) -> None:
        """Raises ReadOnly after a fault."""
        if self.fault is not None:
            raise ReadOnly

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn the system's errors of a write into ours; StoreFull and ArchiveAway pass, all others close the latch."""
        try:
            yield
        except OSError as error:
            raise self._judge(error) from error

    def _judge(self, error: OSError) -> StorageError:
        if error.errno in _FULL:
            return StoreFull()
        if error.errno in _PASSING:
            return ArchiveAway()
        self.fault = os.strerror(error.errno or errno.EIO)
        return ReadOnly()


def make_directory(path: Path, sync: Sync) -> None:
    """Make `path` inside its parent, and do not return before its name is on the disk."""
    path.mkdir(mode=0o700, exist_ok=True)
    sync.directory(path.parent)
