"""The values that pass between the packages: what opens the catalog, what is asked of it, what it answers.

An instant is an `int`: microseconds since 1970-01-01T00:00:00Z. A calendar date is DICOM's DA text, `YYYYMMDD`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Select

Instant = int
Place = tuple[str | int, ...]
"""Where a row stands in the order of a search: the values by which rows are ordered."""


class Level(enum.Enum):
    """The levels of the QIDO-RS hierarchy (PS3.18 10.6.1)."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visibility:
    """One access rule as SQL, built once; requests differ only in its parameters.

    `series` is a condition over the rows `study` and `series` of `storage.tables`.
    `patients` selects the keys of the patients that any permit of the requester names: the driving side of a search
    without a selective key. `ground` is a scalar subquery over the same rows: the consent relied on, as
    `consent_id/version`.
    """

    name: str
    series: ColumnElement[bool]
    patients: Select[tuple[int]]
    ground: ColumnElement[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """What opens the catalog: a rule and the requester's parameters. Made in `consent/decide.py` alone (law 2)."""

    visibility: Visibility
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """Stewardship of the store by a named job, which discloses nothing. Made in `app.py` and `cli.py` alone (law 2)."""

    job: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One matching key (PS3.18 8.3.4.1): the attribute's path as upper-case tags, and the text asked for."""

    path: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A QIDO-RS search (PS3.18 10.6).

    `include` holds tags asked for beyond the required return keys; `include_all` stands for `includefield=all`.
    `after` is the place of the last row of the page before: with it the page begins there, and `offset` says nothing.
    """

    level: Level
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    match: tuple[Match, ...] = ()
    include: tuple[str, ...] = ()
    include_all: bool = False
    limit: int = 100
    offset: int = 0
    after: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to a search: DICOM JSON objects as bytes, and whether more rows were left unsent.

    `objects` have one attribute a line, ascending by tag, and lack RetrieveURL, which only the edge can know; the UIDs
    stand beside each object for it. `last` is the place of the last row in the order of all rows, which never leaves
    the gateway.
    """

    objects: Sequence[bytes]
    uids: Sequence[tuple[str, ...]]
    patients: Sequence[str]
    more: bool
    last: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a retrieve names: a study, one of its series, or one of that series' instances (PS3.18 10.4.1)."""

    study_instance_uid: str
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRef:
    """One instance that the requester may have: where its bytes are and what they must be. Made by the catalog alone.

    `digest` is the SHA-256 of the Part 10 file, `chunk_crcs` the CRC32C of each MiB of it (4 bytes each, big endian),
    `frames` the packed frame table and `bulk` the packed places of bulk data (None where not asked for), `ground` the
    consent relied on as `consent_id/version`.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    archive_id: str
    locator: str
    size_bytes: int
    digest: bytes
    chunk_crcs: bytes
    data_set_offset: int
    state: str
    ground: str
    series: int
    bits_allocated: int | None = None
    frames: bytes | None = None
    bulk: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRef:
    """One series that the requester may have: its key and revision, the names of its derived metadata document."""

    study_instance_uid: str
    series_instance_uid: str
    series: int
    revision: int
    instance_count: int
    ground: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """What a retrieve may have of its target.

    `patient` names whose images they are, for the audit record. `part_hidden` is true when the target is a study of
    which the requester sees a part (law 5); with nothing visible both sequences are empty and `part_hidden` is false.
    """

    instances: Sequence[InstanceRef] = ()
    series: Sequence[SeriesRef] = ()
    patient: str = ""
    part_hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteSpan:
    """A run of bytes of an object: offset and length in bytes."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """The promise on one study (G9340): since when, guaranteed until when, and what may come afterwards."""

    available_since: Instant
    guaranteed_until: Instant
    purge_after: Instant | None
    state: str
    holds: Sequence[str] = field(default=())
