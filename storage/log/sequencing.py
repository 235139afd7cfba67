"""One sequencer at a time: place what waits, sign, publish; the others publish what that one signed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from storage.database import Database
from storage.log.checkpoint import Checkpoint
from storage.log.errors import LogDamaged
from storage.log.files import make_directories
from storage.log.publisher import Publisher
from storage.log.sequencer import AT_MOST, Sequenced, sequence, tree_of

_LOCK_KEY: Final = int.from_bytes(sha256(b"openpriors sequencer").digest()[:8], signed=True)
_TRY: Final = select(func.pg_try_advisory_xact_lock(bindparam("key")))


class Sequencing:
    """The sequencer of one process: `advance` is one round of it.

    Parameters
    ----------
    database : holds events and tree
    publisher : signs and publishes the tree
    data_dir : holds the lock that the processes of one data directory share; nodes of one PostgreSQL database share
        an advisory lock beside it
    """

    def __init__(self, database: Database, publisher: Publisher, data_dir: Path) -> None:
        self._database = database
        self._publisher = publisher
        self._lock_file = data_dir / "sequencer.lock"

    def advance(self) -> Checkpoint | None:
        """Place every waiting event, sign and publish; blocks until the checkpoint stands.

        Where another node is at it, publish here what it signed last; where another process of this data directory
        is, leave it to that one. None for a log of which nothing was signed yet. Raises
        CheckpointRefused, LogDamaged, NotDurable or OSError; what was signed before stays published then.
        """
        with self._alone_here() as alone:
            if not alone:
                here = self._publisher.published()
                return here[0] if here else None
            return self._advance() if self._database.is_sqlite else self._database.read(self._advance_if_alone)

    def _advance_if_alone(self, lock: Connection) -> Checkpoint | None:
        # the lock lives as long as this reading transaction, which reads nothing else
        alone = bool(lock.execute(_TRY, {"key": _LOCK_KEY}).scalar())
        return self._advance() if alone else self._publisher.follow()

    def _advance(self) -> Checkpoint | None:
        # looked at before a single event gets a place: a restored database must stay as it is
        self._publisher.refuse_to_go_back()
        stuck: list[str] = []
        while True:
            done = self._database.write(sequence)
            stuck = list(done.stuck)
            if done.placed < AT_MOST:
                break
        head = self._sign(done)
        if stuck:
            raise LogDamaged(" ".join(stuck))
        return head

    def _sign(self, done: Sequenced) -> Checkpoint | None:
        tree = self._database.read(tree_of)
        if tree.size == 0:
            return None
        here = self._publisher.published()
        if here and here[0].size == tree.size and self._publisher.current(here[0]) and tree.checkpoint == here[1]:
            return here[0]
        return self._publisher.sign(done.fence)

    @contextmanager
    def _alone_here(self) -> Iterator[bool]:
        """Give true while no other process of this data directory sequences or publishes."""
        make_directories(self._lock_file.parent)
        handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)
