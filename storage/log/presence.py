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
        self.name = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._held: _FileLock | _AdvisoryLock
        if database.is_sqlite:
            self._held = _FileLock(data_dir / "processes", self.name)
        else:
            self._held = _AdvisoryLock(database, self.name)

    def alive(self, tx: Connection, name: str) -> bool:
        """Say whether the process of that name still runs."""
        return name == self.name or self._held.is_held(tx, name)

    def close(self) -> None:
        """Leave in good order."""
        self._held.close()


class _FileLock:
    def __init__(self, directory: Path, name: str) -> None:
        make_directories(directory)
        self._directory = directory
        self._path = directory / name
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # held until the process ends: only it and what it forks without exec know this open file
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def is_held(self, _: Connection, name: str) -> bool:
        if "/" in name or not (self._directory / name).is_file():
            return False
        handle = os.open(self._directory / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            (self._directory / name).unlink(missing_ok=True)
            return False
        finally:
            os.close(handle)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


class _AdvisoryLock:
    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._key = _lock_key(name)
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


def _lock_key(name: str) -> int:
    digest = sha256(b"openpriors process " + name.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
