"""Find events by their subjects, open what was sealed, and erase what may be forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from storage.log.entry import SUBJECTS, Body, commitment, opening_context, parse, subject_pairs, value_of
from storage.log.errors import LogDamaged, StillKept
from storage.log.event import AuditEvent, EventId, Kind, Plain
from storage.model import Instant
from storage.sealing import KeyRing, NotSealedHere
from storage.tables import log_event, log_opening, log_subject

KEPT: Final = (6 * 365 + 2) * 86_400 * 1_000_000  # six years, leap days included, in microseconds (law 13)

_BODY: Final = select(log_event.c.body, log_event.c.leaf).where(
    log_event.c.node == bindparam("node"), log_event.c.seq == bindparam("seq")
)
_OPENINGS: Final = select(log_opening.c.field, log_opening.c.sealed).where(
    log_opening.c.node == bindparam("node"), log_opening.c.seq == bindparam("seq")
)
_ABOUT: Final = (
    select(log_subject.c.node, log_subject.c.seq)
    .where(log_subject.c.subject == bindparam("subject"))
    .where(tuple_(log_subject.c.node, log_subject.c.seq) > tuple_(bindparam("after_node"), bindparam("after_seq")))
    .order_by(log_subject.c.node, log_subject.c.seq)
    .limit(bindparam("at_most"))
)
_ERASE: Final = delete(log_opening).where(
    log_opening.c.node == bindparam("at_node"),
    log_opening.c.seq == bindparam("at_seq"),
    log_opening.c.field == bindparam("at_field"),
)
_UNINDEX: Final = delete(log_subject).where(
    log_subject.c.node == bindparam("at_node"), log_subject.c.seq == bindparam("at_seq")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEvent:
    """An event as it was recorded.

    `leaf` is its place in the tree, None until it has one. `unopened` names the sealed fields whose openings are
    gone: erased on purpose if a `log.erased` event says so, which `verify` checks.
    """

    place: EventId
    leaf: int | None
    kind: Kind
    at: Instant
    request: str
    plain: Mapping[str, Any]
    sealed: Mapping[str, Any]
    subjects: Sequence[tuple[str, str]]
    unopened: Sequence[str]


def find(
    tx: Connection, keys: KeyRing, kind: str, identifier: str, *, after: EventId | None = None, at_most: int = 1000
) -> list[EventId]:
    """Give the places of the events about a subject, by node and number, those after `after` only."""
    start = after or EventId(node="", seq=0)
    parameters = {
        "subject": keys.subject(kind, identifier),
        "after_node": start.node,
        "after_seq": start.seq,
        "at_most": at_most,
    }
    return [EventId(node=row.node, seq=row.seq) for row in tx.execute(_ABOUT, parameters)]


def read(tx: Connection, keys: KeyRing, place: EventId) -> OpenedEvent:
    """Open an event; LogDamaged when it is missing, or when an opening is not that of its commitment."""
    facts, leaf = _facts(tx, place)
    values = _opened(tx, keys, place, facts)
    opened = set(values)
    subjects = subject_pairs(values.pop(SUBJECTS, []))
    return OpenedEvent(
        place=place,
        leaf=leaf,
        kind=facts.kind,
        at=facts.at,
        request=facts.request,
        plain=facts.plain,
        sealed=values,
        subjects=subjects,
        unopened=sorted(facts.sealed.keys() - opened),
    )


def opening_of(keys: KeyRing, place: EventId, field: str, sealed: bytes, committed: str | None) -> bytes:
    """Decrypt an opening and hold it against its commitment; LogDamaged when they differ."""
    try:
        opening = keys.sealer.open(sealed, opening_context(place.node, place.seq, field))
    except NotSealedHere:
        opening = b""
    if not opening or commitment(field, opening) != committed:
        raise LogDamaged(f"The opening of {field} in event {place.seq} of node {place.node} was altered.")
    return opening


def erase(tx: Connection, place: EventId, fields: Sequence[str], at: Instant) -> AuditEvent:
    """Delete the openings of `fields`; gives the event that says so, to be appended in the same transaction.

    Erasing `subjects` takes the event out of the index as well. Older copies of the database still hold what was
    erased. Raises StillKept before six years have passed.
    """
    facts = _facts(tx, place)[0]
    if at < facts.at + KEPT:
        raise StillKept
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA secure_delete = ON")  # overwrite it, not only forget where it was
    where = {"at_node": place.node, "at_seq": place.seq}
    tx.execute(_ERASE, [{**where, "at_field": field} for field in fields])
    if SUBJECTS in fields:
        tx.execute(_UNINDEX, where)
    plain: dict[str, Plain] = {"event_node": place.node, "event_seq": place.seq, "fields": sorted(fields)}
    return AuditEvent(kind=Kind.ERASED, at=at, request=facts.request, plain=plain)


def _facts(tx: Connection, place: EventId) -> tuple[Body, int | None]:
    row = tx.execute(_BODY, {"node": place.node, "seq": place.seq}).first()
    if row is None:
        raise LogDamaged(f"Event {place.seq} of node {place.node} is missing.")
    return parse(bytes(row.body)), row.leaf


def _opened(tx: Connection, keys: KeyRing, place: EventId, facts: Body) -> dict[str, Any]:
    rows = tx.execute(_OPENINGS, {"node": place.node, "seq": place.seq}).all()
    return {
        row.field: value_of(opening_of(keys, place, row.field, bytes(row.sealed), facts.sealed.get(row.field)))
        for row in rows
    }
