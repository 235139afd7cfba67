"""What the log is told about consent: one event for each change, in the transaction of the change (law 7)."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection

from storage.log.event import AuditEvent


class Record(Protocol):
    """The log, as the register needs it: an event written in the caller's transaction, or an exception."""

    def append(self, tx: Connection, event: AuditEvent) -> object:
        """Write `event` in `tx`."""
