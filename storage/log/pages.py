"""Walk the whole log in pages, in the tree's order: first what has a place in it, then what waits for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, select, tuple_

from storage.log.errors import LogDamaged
from storage.log.event import EventId
from storage.tables import log_event, log_opening

PAGE: Final = 500  # events read at once
_BEFORE_ALL: Final = -(1 << 63)

_COLUMNS: Final = (log_event.c.node, log_event.c.seq, log_event.c.body, log_event.c.chain, log_event.c.leaf)
_IN_TREE: Final = select(*_COLUMNS).where(log_event.c.leaf > bindparam("after")).order_by(log_event.c.leaf).limit(PAGE)
_WAITING: Final = (
    select(*_COLUMNS)
    .where(log_event.c.leaf.is_(None))
    .where(tuple_(log_event.c.node, log_event.c.seq) > tuple_(bindparam("node"), bindparam("seq")))
    .order_by(log_event.c.node, log_event.c.seq)
    .limit(PAGE)
)
_ONE: Final = select(*_COLUMNS).where(log_event.c.node == bindparam("node"), log_event.c.seq == bindparam("seq"))
_OPENINGS: Final = select(log_opening).where(
    log_opening.c.node == bindparam("node"), log_opening.c.seq.between(bindparam("first"), bindparam("last"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stored event as it stands in the database: `openings` maps a field to its sealed opening."""

    node: str
    seq: int
    body: bytes
    chain: bytes
    leaf: int | None
    openings: Mapping[str, bytes]

    @property
    def where(self) -> str:
        """Say which event this is."""
        place = "not yet in the tree" if self.leaf is None else f"leaf {self.leaf}"
        return f"event {self.seq} of node {self.node} ({place})"


def snapshot(tx: Connection) -> None:
    """See one state of the log from now on, whatever is written meanwhile; the transaction must be unused."""
    if tx.dialect.name != "sqlite":
        tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def entries(tx: Connection) -> Iterator[Entry]:
    """Give every event with its openings; memory holds one page."""
    after: Any = {"after": _BEFORE_ALL}
    while rows := _page(tx, _IN_TREE, after):
        yield from _with_openings(tx, rows)
        after = {"after": rows[-1].leaf}
    after = {"node": "", "seq": _BEFORE_ALL}
    while rows := _page(tx, _WAITING, after):
        yield from _with_openings(tx, rows)
        after = {"node": rows[-1].node, "seq": rows[-1].seq}


def entry_at(tx: Connection, place: EventId) -> Entry:
    """Give one event; LogDamaged when it is missing."""
    rows = tx.execute(_ONE, {"node": place.node, "seq": place.seq}).all()
    if not rows:
        raise LogDamaged(f"Event {place.seq} of node {place.node} is missing.")
    return next(_with_openings(tx, rows))


def _page(tx: Connection, statement: Select[Any], after: Mapping[str, Any]) -> Sequence[Any]:
    return tx.execute(statement, after).all()


def _with_openings(tx: Connection, rows: Sequence[Any]) -> Iterator[Entry]:
    openings = _openings(tx, rows)
    for row in rows:
        yield Entry(
            node=row.node,
            seq=row.seq,
            body=bytes(row.body),
            chain=bytes(row.chain),
            leaf=row.leaf,
            openings=openings.get((row.node, row.seq), {}),
        )


def _openings(tx: Connection, rows: Sequence[Any]) -> dict[tuple[str, int], dict[str, bytes]]:
    found: dict[tuple[str, int], dict[str, bytes]] = {}
    wanted = {(row.node, row.seq) for row in rows}
    for node in {node for node, _ in wanted}:
        numbers = [seq for of, seq in wanted if of == node]
        for row in tx.execute(_OPENINGS, {"node": node, "first": min(numbers), "last": max(numbers)}):
            if (node, row.seq) in wanted:
                found.setdefault((node, row.seq), {})[row.field] = bytes(row.sealed)
    return found
