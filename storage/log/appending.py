"""Write events into the log inside the caller's transaction: place, chain, openings, index, open intents.

A node's last number and chain value are read in the transaction that extends them, never remembered: another process
may have written since. On SQLite BEGIN IMMEDIATE keeps writers apart, on PostgreSQL the row lock.

Every disclosure waits for this, so the statements are compiled at import and go to the driver's own cursor, rows as
tuples in the order of the table's columns: five statements through `execute` cost a commit 0.2 ms more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Executable, bindparam, delete, insert, select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError

from storage.log.entry import FIRST_CHAIN, Prepared, next_place, opening_context, written
from storage.log.event import EventId, Kind
from storage.sealing import KeyRing
from storage.tables import log_event, log_node, log_open, log_opening, log_subject

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
    statements, cursor = _STATEMENTS[tx.dialect.name], tx.connection.cursor()
    try:
        return _append(_Run(statements, cursor), prepared, writer)
    except tx.dialect.loaded_dbapi.Error as error:
        # callers know SQLAlchemy's errors: a deadlock is tried again by them, a failure answered
        kind = tx.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(None, None, error, kind, hide_parameters=True, dialect=tx.dialect) from error
    finally:
        cursor.close()


def _append(run: _Run, prepared: Sequence[Prepared], writer: Writer) -> list[EventId]:
    seq, head = _head(run, writer.node)
    placed: list[Place] = []
    rows = []
    for one in prepared:
        body = written(one, writer.node, seq + 1)
        place, head = next_place(writer.node, seq, head, body)
        seq = place.seq
        placed.append((one, place))
        rows.append((writer.node, seq, body, head))
    run("event", rows)
    run("head", [(seq, head, writer.node)])
    run("opening", _openings(writer.keys, placed))
    run("subject", [(subject, at.node, at.seq) for one, at in placed for subject in one.subjects])
    # an intent waits for its outcome; what is left waiting, a crash left
    run("opened", [_open_row(one, at, writer) for one, at in placed if one.event.kind is Kind.RETRIEVE_INTENT])
    run("closed", [(one.event.request,) for one, _ in placed if one.event.kind is Kind.RETRIEVE_OUTCOME])
    return [at for _, at in placed]


class _Run:
    """Runs the compiled statements on a cursor of the transaction's own connection."""

    def __init__(self, statements: Mapping[str, str], cursor: DBAPICursor) -> None:
        self._statements = statements
        self._cursor = cursor

    def __call__(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if len(rows) == 1:
            self._cursor.execute(self._statements[name], rows[0])
        elif rows:
            self._cursor.executemany(self._statements[name], rows)

    def first(self, name: str, row: tuple[Any, ...]) -> Any:
        self._cursor.execute(self._statements[name], row)
        return self._cursor.fetchone()


def _head(run: _Run, node: str) -> tuple[int, bytes]:
    found = run.first("find", (node,))
    if found is None:
        run("begin", [(node, FIRST_CHAIN)])
        found = run.first("find", (node,))
    seq, head = found
    return seq, bytes(head)


def _openings(keys: KeyRing, placed: Sequence[Place]) -> list[tuple[Any, ...]]:
    """Seal every opening to its place."""
    named = [(at, field, opening) for one, at in placed for field, opening in one.openings]
    sealed = keys.sealer.seal_many((opening, opening_context(at.node, at.seq, field)) for at, field, opening in named)
    return [(at.node, at.seq, field, box) for (at, field, _), box in zip(named, sealed, strict=True)]


def _open_row(one: Prepared, at: EventId, writer: Writer) -> tuple[Any, ...]:
    return (one.event.request, at.node, at.seq, writer.process, one.event.at)


def _compile() -> dict[str, dict[str, str]]:
    statements: dict[str, Executable] = {
        "find": select(log_node.c.seq, log_node.c.head).where(log_node.c.node == bindparam("at")).with_for_update(),
        "begin": text("INSERT INTO log_node (node, seq, head) VALUES (:node, 0, :head) ON CONFLICT DO NOTHING"),
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
