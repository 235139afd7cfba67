"""Close what a crash left open: intents to retrieve whose process is gone and whose outcome nobody will write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from storage.log.event import AuditEvent, EventId, Kind
from storage.model import Instant
from storage.tables import log_open

AT_MOST: Final = 500  # intents of one process closed in one transaction

_PROCESSES: Final = select(log_open.c.process).distinct()
_LEFT: Final = (
    select(log_open)
    .where(log_open.c.process == bindparam("of"))
    .order_by(log_open.c.opened_at, log_open.c.request)
    .limit(AT_MOST)
    .with_for_update(skip_locked=True)
)
_CLOSE: Final = delete(log_open).where(log_open.c.request == bindparam("at_request"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """An intent to retrieve without an outcome: its request, its event, who wrote it and when."""

    request: str
    place: EventId
    process: str
    opened_at: Instant


def left_open(tx: Connection, alive: Callable[[str], bool]) -> list[OpenIntent]:
    """Give open intents of processes that are gone, locked for this transaction."""
    gone = [process for (process,) in tx.execute(_PROCESSES).all() if not alive(process)]
    return [
        OpenIntent(
            request=row.request,
            place=EventId(node=row.node, seq=row.seq),
            process=row.process,
            opened_at=row.opened_at,
        )
        for process in gone
        for row in tx.execute(_LEFT, {"of": process}).all()
    ]


def forget(tx: Connection, left: Sequence[OpenIntent]) -> None:
    """Take intents off the list of open ones."""
    if left:
        tx.execute(_CLOSE, [{"at_request": intent.request} for intent in left])


def unknown_after_crash(left: OpenIntent, at: Instant, subjects: Sequence[tuple[str, str]]) -> AuditEvent:
    """Say of an open intent that nobody knows how far it came, which counts as disclosed."""
    return AuditEvent(
        kind=Kind.UNKNOWN_AFTER_CRASH,
        at=at,
        request=left.request,
        plain={
            "intent_node": left.place.node,
            "intent_seq": left.place.seq,
            "process": left.process,
            "opened_at": left.opened_at,
        },
        subjects=subjects,
    )
