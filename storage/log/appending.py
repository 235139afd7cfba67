"""Write events into the log inside the caller's transaction: place, chain, openings, index, open intents.

A node's last number and chain value are read in the transaction that extends them, never remembered: another process
may have written since. On SQLite BEGIN IMMEDIATE keeps writers apart, on PostgreSQL the row lock.

Every disclosure waits for this, so the statements are compiled at import and rows go to the driver as tuples, in the
order of the table's columns; through `execute` the same rows take half as long again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Executable, bindparam, delete, insert, select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg

from storage.log.entry import FIRST_CHAIN, Prepared, next_place, opening_context, written
from storage.log.event import EventId, Kind
from storage.sealing import KeyRing
from storage.tables import log_event, log_node, log_open, log_opening, log_subject

_HEAD: Final = select(log_node.c.seq, log_node.c.head).where(log_node.c.node == bindparam("node")).with_for_update()
_NEW_NODE: Final = text("INSERT INTO log_node (node, seq, head) VALUES (:node, 0, :head) ON CONFLICT DO NOTHING")
_DIALECTS: Final = {
    "sqlite": sqlite.dialect(),
    "postgresql": psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
}

Place = tuple[Prepared, EventId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """In whose name events are written: the ring that seals them, the node, the process."""

    keys: KeyRing
    node: str
    process: str


def append(tx: Connection, prepared: Sequence[Prepared], writer: Writer) -> list[EventId]:
    """Write prepared events as the node's next ones, with all that belongs to them."""
    if not prepared:
        return []
    seq, head = _head(tx, writer.node)
    placed: list[Place] = []
    rows = []
    for one in prepared:
        body = written(one, writer.node, seq + 1)
        place, head = next_place(writer.node, seq, head, body)
        seq = place.seq
        placed.append((one, place))
        rows.append((writer.node, seq, body, head))
    _run(tx, "event", rows)
    _run(tx, "head", [(seq, head, writer.node)])
    _run(tx, "opening", _openings(writer.keys, placed))
    _run(tx, "subject", [(subject, at.node, at.seq) for one, at in placed for subject in one.subjects])
    # an intent waits for its outcome; what is left waiting, a crash left
    _run(tx, "opened", [_open_row(one, at, writer) for one, at in placed if one.event.kind is Kind.RETRIEVE_INTENT])
    _run(tx, "closed", [(one.event.request,) for one, _ in placed if one.event.kind is Kind.RETRIEVE_OUTCOME])
    return [at for _, at in placed]


def _head(tx: Connection, node: str) -> tuple[int, bytes]:
    found = tx.execute(_HEAD, {"node": node}).first()
    if found is None:
        tx.execute(_NEW_NODE, {"node": node, "head": FIRST_CHAIN})
        found = tx.execute(_HEAD, {"node": node}).one()
    return found.seq, bytes(found.head)


def _openings(keys: KeyRing, placed: Sequence[Place]) -> list[tuple[Any, ...]]:
    """Seal every opening to its place."""
    named = [(at, field, opening) for one, at in placed for field, opening in one.openings]
    sealed = keys.sealer.seal_many((opening, opening_context(at.node, at.seq, field)) for at, field, opening in named)
    return [(at.node, at.seq, field, box) for (at, field, _), box in zip(named, sealed, strict=True)]


def _open_row(one: Prepared, at: EventId, writer: Writer) -> tuple[Any, ...]:
    return (one.event.request, at.node, at.seq, writer.process, one.event.at)


def _run(tx: Connection, name: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        tx.exec_driver_sql(_STATEMENTS[tx.dialect.name][name], rows)


def _compile() -> dict[str, dict[str, str]]:
    statements: dict[str, Executable] = {
        "event": insert(log_event).values(**_parameters("node", "seq", "body", "chain")),
        "head": update(log_node).where(log_node.c.node == bindparam("at")).values(**_parameters("seq", "head")),
        "opening": insert(log_opening),
        "subject": insert(log_subject),
        "opened": insert(log_open),
        "closed": delete(log_open).where(log_open.c.request == bindparam("at")),
    }
    return {
        dialect: {name: str(statement.compile(dialect=rules)) for name, statement in statements.items()}  # type: ignore[attr-defined]
        for dialect, rules in _DIALECTS.items()
    }


def _parameters(*columns: str) -> dict[str, Any]:
    return {column: bindparam(column) for column in columns}


_STATEMENTS: Final = _compile()
