"""The audit log of one process: append, record, find and read events."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from storage.database import Database
from storage.log import appending
from storage.log.entry import Prepared, prepare
from storage.log.errors import EventRefused
from storage.log.event import AuditEvent, EventId
from storage.log.recorder import Recorder
from storage.model import Instant
from storage.sealing import KeyRing

LOCAL_NODE = "local"  # every process of one data directory writes as this node


class AuditLog:
    """The record of what was done: durable before the deed, provable afterwards.

    Parameters
    ----------
    database : holds the events, their openings and the tree
    keys : seal the openings, hide the subjects, sign the checkpoints
    data_dir : tiles and checkpoints are published below its `log` directory
    node : name of this node, unique among the nodes that share a PostgreSQL database; SQLite has one node, `local`
    process : name of this process, from storage/log/presence.py
    clock : the present instant
    checkpoint_copy : directory off this machine that gets every checkpoint before it is published
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        data_dir: Path,
        *,
        node: str,
        process: str,
        clock: Callable[[], Instant],
        checkpoint_copy: Path | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", node):
            raise EventRefused("A node's name has 1 to 64 letters, digits, dots, dashes or underscores.")
        self.database = database
        self.keys = keys
        self.data_dir = data_dir
        self.node = LOCAL_NODE if database.is_sqlite else node
        self.process = process
        self.clock = clock
        self.checkpoint_copy = checkpoint_copy
        self._writer = appending.Writer(keys=keys, node=self.node, process=process)
        self._recorder = Recorder(database, self._append)

    def append(self, tx: Connection, event: AuditEvent) -> EventId:
        """Write an event inside the caller's transaction: both are durable, or neither is (law 7)."""
        return self.append_many(tx, [event])[0]

    def append_many(self, tx: Connection, events: Sequence[AuditEvent]) -> list[EventId]:
        """Write events, in this order, inside the caller's transaction."""
        return self._append(tx, [prepare(event, self.keys) for event in events])

    async def record(self, event: AuditEvent) -> EventId:
        """Write an event and wait until it is durable; NotDurable when it could not be made so (law 6).

        An intent to retrieve stays open until the outcome of the same request is written, or a sweep closes it.
        """
        return await self._recorder.record(prepare(event, self.keys))

    def _append(self, tx: Connection, prepared: Sequence[Prepared]) -> list[EventId]:
        return appending.append(tx, prepared, self._writer)
