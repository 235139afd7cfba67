"""Which processes are alive, told by locks that the system lets go of when a process ends, however it ends.

On SQLite each process locks a file of its own in the data directory; on PostgreSQL, where the nodes share no
directory, each holds an advisory lock on a connection of its own.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from storage.database import Database
from storage.log.files import make_directories

BEAT_S: Final = 10.0  # how often the advisory lock's connection is tried, and taken anew if it was lost
_TRY: Final = select(func.pg_try_advisory_xact_lock(bindparam("key")))


class Presence:
    """This process, alive as long as the object is open; says of other processes whether they are.

    Parameters
    ----------
    database : shared by the processes that ask about one another
    data_dir : holds `processes/`, one locked file for each process
    """

    def __init__(self, database: Database, data_dir: Path) -> None:
        self._held = _FileLock(data_dir / "processes") if database.is_sqlite else _AdvisoryLock(database)
        self.name = self._held.name

    def alive(self, tx: Connection, name: str) -> bool:
        """Say whether the process of that name still runs."""
        return name == self.name or self._held.is_held(tx, name)

    def close(self) -> None:
        """Leave in good order."""
        self._held.close()


class _FileLock:
    def __init__(self, directory: Path) -> None:
        make_directories(directory)
        self._directory = directory
        for path in list(directory.iterdir()):
            self._locked(path.name)  # takes away what crashed processes left
        self.name, self._handle = self._take()

    def _take(self) -> tuple[str, int]:
        """Lock a new file for as long as this process lives; only it and what it forks without exec hold it open."""
        while True:
            name = _new_name()
            handle = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return name, handle
            os.close(handle)  # taken for one that a crash left, before it was locked

    def is_held(self, _: Connection, name: str) -> bool:
        return "/" not in name and self._locked(name)

    def _locked(self, name: str) -> bool:
        """Say whether a process holds this file; one that nobody holds is taken away."""
        path = self._directory / name
        if not path.is_file():
            return False
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(handle)

    def close(self) -> None:
        (self._directory / self.name).unlink(missing_ok=True)
        os.close(self._handle)


class _AdvisoryLock:
    def __init__(self, database: Database) -> None:
        self.name = _new_name()
        self._database = database
        self._key = _lock_key(self.name)
        self._taken = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="presence", daemon=True)
        self._thread.start()
        self._taken.wait()

    def is_held(self, tx: Connection, name: str) -> bool:
        return not tx.execute(_TRY, {"key": _lock_key(name)}).scalar()

    def close(self) -> None:
        self._leave.set()
        self._thread.join()

    def _hold(self) -> None:
        while not self._leave.is_set():
            # a lost connection lets the lock go: it is taken anew as soon as the server answers
            with suppress(SQLAlchemyError):
                self._database.read(self._hold_in)
            self._taken.set()
            self._leave.wait(1.0)

    def _hold_in(self, tx: Connection) -> None:
        tx.execute(select(func.pg_advisory_xact_lock(self._key)))
        self._taken.set()
        while not self._leave.wait(BEAT_S):
            tx.execute(select(1))


def _new_name() -> str:
    return f"{os.getpid()}-{os.urandom(8).hex()}"


def _lock_key(name: str) -> int:
    digest = sha256(b"openpriors process " + name.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
