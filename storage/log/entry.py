"""The written form of an event: its canonical body, and what opens the commitments in it.

body        JCS of {"at", "kind", "node", "plain", "request", "sealed", "seq", "v"}
leaf        SHA-256(0x00 || body)                            (RFC 9162 2.1.1)
chain       SHA-256(0x03 || chain of the node's event before || leaf), 32 zero bytes before the first
commitment  SHA-256(0x02 || salt || JCS([field, value])), in hexadecimal, under "sealed" in the body
opening     salt (32 bytes) || JCS(value), encrypted with the context `opening/node/seq/field`

The subjects of an event are one more sealed field, `subjects`, so that its index rows can be checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from storage.log.canonical import NotCanonical, canonical, decode, encode
from storage.log.errors import EventRefused, LogDamaged
from storage.log.event import AuditEvent, EventId, Kind
from storage.log.merkle import leaf_hash
from storage.sealing import KeyRing

VERSION: Final = 1
SUBJECTS: Final = "subjects"  # the sealed field that names what the event is about
FIRST_CHAIN: Final = bytes(32)
SALT_BYTES: Final = 32
BODY_LIMIT: Final = 65_535  # an entry's length is a uint16 in C2SP tlog-tiles bundles
SUBJECT_KINDS: Final = frozenset({"patient", "study", "facility", "consent", "person"})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_BODY_NAMES: Final = frozenset({"at", "kind", "node", "plain", "request", "sealed", "seq", "v"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An event ready to be given its place: values checked, salts drawn, commitments made."""

    event: AuditEvent
    commitments: Mapping[str, str]
    openings: Sequence[tuple[str, bytes]]
    subjects: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The parsed body of an event: what a reader without openings may see."""

    kind: Kind
    at: int
    request: str
    node: str
    seq: int
    plain: Mapping[str, Any]
    sealed: Mapping[str, str]


def prepare(event: AuditEvent, keys: KeyRing) -> Prepared:
    """Check an event and commit to its sealed values; EventRefused when it has no written form."""
    try:
        sealed = _sealed_fields(event)
        canonical([event.request])
        _check_plain(event)
        values = [(name, canonical(value)) for name, value in sealed.items()]
    except NotCanonical as error:
        raise EventRefused(f"A {event.kind.value} event was not recorded: {error}") from error
    salts = os.urandom(SALT_BYTES * len(values))
    openings = [
        (name, salts[at * SALT_BYTES : (at + 1) * SALT_BYTES] + value) for at, (name, value) in enumerate(values)
    ]
    return Prepared(
        event=event,
        commitments={name: commitment(name, opening) for name, opening in openings},
        openings=openings,
        subjects=[keys.subject(kind, identifier) for kind, identifier in dict.fromkeys(event.subjects)],
    )


def written(prepared: Prepared, node: str, seq: int) -> bytes:
    """Give the body of a prepared event at its place; EventRefused when it is longer than an entry may be."""
    event = prepared.event
    body = encode(
        {
            "at": event.at,
            "kind": event.kind.value,
            "node": node,
            "plain": dict(event.plain),
            "request": event.request,
            "sealed": prepared.commitments,
            "seq": seq,
            "v": VERSION,
        }
    )
    if len(body) > BODY_LIMIT:
        raise EventRefused(f"A {event.kind.value} event has {len(body)} bytes of plain facts; {BODY_LIMIT} is most.")
    return body


def parse(body: bytes) -> Body:
    """Read a body; LogDamaged when it is not canonical or not an event's."""
    try:
        facts = decode(body)
        if facts.keys() != _BODY_NAMES or facts["v"] != VERSION:
            raise LogDamaged
        return Body(
            kind=Kind(facts["kind"]),
            at=int(facts["at"]),
            request=str(facts["request"]),
            node=str(facts["node"]),
            seq=int(facts["seq"]),
            plain=dict(facts["plain"]),
            sealed=dict(facts["sealed"]),
        )
    except (NotCanonical, AttributeError, ValueError, TypeError) as error:
        raise LogDamaged from error


def commitment(field: str, opening: bytes) -> str:
    """Give the commitment that an opening (salt and canonical value) opens."""
    salt, value = opening[:SALT_BYTES], opening[SALT_BYTES:]
    return sha256(b'\x02%b["%b",%b]' % (salt, field.encode(), value)).hexdigest()


def value_of(opening: bytes) -> Any:
    """Give the value inside an opening; LogDamaged when it has none."""
    try:
        return decode(opening[SALT_BYTES:])
    except NotCanonical as error:
        raise LogDamaged from error


def chained(before: bytes, leaf: bytes) -> bytes:
    """Give a node's chain value after the event with leaf hash `leaf`."""
    return sha256(b"\x03" + before + leaf).digest()


def opening_context(node: str, seq: int, field: str) -> str:
    """Give the place an opening is sealed to."""
    return f"opening/{node}/{seq}/{field}"


def subject_pairs(value: Any) -> list[tuple[str, str]]:
    """Read the `subjects` field back into (kind, identifier) pairs."""
    pairs = [tuple(str(text).split(":", 1)) for text in value]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004
        raise LogDamaged
    return [(kind, identifier) for kind, identifier in pairs]


def next_place(node: str, seq: int, chain: bytes, body: bytes) -> tuple[EventId, bytes]:
    """Give the place and chain value of a body that follows the node's event `seq`."""
    return EventId(node=node, seq=seq + 1), chained(chain, leaf_hash(body))


def _sealed_fields(event: AuditEvent) -> dict[str, Any]:
    fields = dict(event.sealed)
    if SUBJECTS in fields or not all(map(_NAME.fullmatch, fields)):
        raise EventRefused(f"A {event.kind.value} event has a sealed field whose name is reserved or unusable.")
    if event.subjects:
        if any(kind not in SUBJECT_KINDS for kind, _ in event.subjects):
            raise EventRefused(f"A {event.kind.value} event is about something that is no kind of subject.")
        fields[SUBJECTS] = [f"{kind}:{identifier}" for kind, identifier in dict.fromkeys(event.subjects)]
    return fields


def _check_plain(event: AuditEvent) -> None:
    for name, value in event.plain.items():
        if not _NAME.fullmatch(name) or isinstance(value, Mapping):
            raise EventRefused(f"A {event.kind.value} event has a plain field whose name or value is unusable.")
        canonical(value)
    if type(event.at) is not int:
        raise EventRefused(f"A {event.kind.value} event has no instant.")
