"""Admission to the catalog: what is known of some arrivals, and the rows they become, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, Select, bindparam, case, insert, select, update

from storage import patients
from storage.guarantee import guaranteed_until
from storage.index import Column, Indexed
from storage.judgement import ONLINE, Candidate, Known, KnownInstance, KnownSeries, KnownStudy, Standing
from storage.model import Instant
from storage.tables import hold, instance, request_attribute, series, study

Holds = Callable[[str, bytes, int], bool]
"""Whether an archive has the bytes of this digest and size: archive id, digest, size in bytes."""

_INSTANCE_COLUMNS: Final = (
    instance.c.id.label("key"),
    study.c.study_instance_uid,
    series.c.series_instance_uid,
    instance.c.sop_instance_uid,
    instance.c.sop_class_uid,
    instance.c.transfer_syntax_uid,
    instance.c.digest,
    instance.c.data_set_digest,
    study.c.state.label("study_state"),
    instance.c.state,
    instance.c.archive_id,
    instance.c.size_bytes,
)


def _known_instances(condition: ColumnElement[bool]) -> Select[Any]:
    return select(*_INSTANCE_COLUMNS).select_from(instance.join(series).join(study)).where(condition)


_AMONG: Final[BindParameter[Sequence[str]]] = bindparam("uids", expanding=True)
_STUDIES: Final = select(
    study.c.study_instance_uid,
    study.c.id.label("key"),
    study.c.patient_id,
    study.c.issuer,
    study.c.study_date,
    study.c.state,
    study.c.fragment,
).where(study.c.study_instance_uid.in_(_AMONG))
_SERIES: Final = (
    select(series.c.series_instance_uid, series.c.id.label("key"), study.c.study_instance_uid, series.c.modality)
    .select_from(series.join(study))
    .where(series.c.series_instance_uid.in_(_AMONG))
)
_INSTANCES: Final = _known_instances(instance.c.sop_instance_uid.in_(_AMONG))
_BY_DIGEST: Final = _known_instances(instance.c.digest == bindparam("digest"))

_GROW_SERIES: Final = (
    update(series)
    .where(series.c.id == bindparam("key"))
    .values(
        instance_count=series.c.instance_count + bindparam("added"),
        revision=series.c.revision + 1,
        changed_at=bindparam("at"),
    )
)
_GROW_STUDY: Final = (
    update(study)
    .where(study.c.id == bindparam("key"))
    .values(
        revision=study.c.revision + 1,
        # an image that came later is promised as long as any other; a promise never becomes shorter
        guaranteed_until=case(
            (study.c.guaranteed_until < bindparam("until"), bindparam("until")), else_=study.c.guaranteed_until
        ),
    )
)
_REPAIRED: Final = update(instance).where(instance.c.id == bindparam("key")).values(state=ONLINE)


_AS_PLANNED: Final = {
    Standing.NEW: {Standing.NEW},
    Standing.DUPLICATE: {Standing.DUPLICATE},
    Standing.REPAIR: {Standing.REPAIR, Standing.DUPLICATE},  # its bytes have been put back meanwhile
}


class CameFirst(Exception):
    """Another process changed what this one had planned on; all is to be judged again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an admission needs beside the instance: the instant, the promise, and the archive that has the bytes."""

    at: Instant
    months: int
    zone: tzinfo
    archive_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A candidate, how it stood when its bytes were written, and its fragment beside its study's (`basis`)."""

    candidate: Candidate
    planned: Standing
    locator: str = ""
    basis: bytes = b""
    fragment: bytes = b""


def look_up(tx: Connection, candidates: Iterable[Candidate], holds: Holds) -> Known:
    """What the catalog knows of the studies, series and instances that these candidates name."""
    named = [candidate.indexed for candidate in candidates]
    return Known(
        studies={uid: KnownStudy(**rest) for uid, rest in _rows(tx, _STUDIES, {o.study_instance_uid for o in named})},
        series={uid: KnownSeries(**rest) for uid, rest in _rows(tx, _SERIES, {o.series_instance_uid for o in named})},
        instances={
            row.sop_instance_uid: _known_instance(row, holds)
            for row in tx.execute(_INSTANCES, {"uids": sorted({o.sop_instance_uid for o in named})})
        },
    )


def find_by_digest(tx: Connection, digest: bytes, holds: Holds) -> KnownInstance | None:
    """The instance that has exactly these bytes."""
    row = tx.execute(_BY_DIGEST, {"digest": digest}).first()
    return _known_instance(row, holds) if row is not None else None


def admit(tx: Connection, arrivals: Sequence[Arrival], terms: Terms, holds: Holds) -> None:
    """Make catalog rows of the arrivals whose bytes are durable; they are servable when this has been committed.

    Raises
    ------
    CameFirst : an arrival no longer stands as was planned
    """
    known = look_up(tx, [arrival.candidate for arrival in arrivals], holds)
    before = {uid: one.key for uid, one in known.instances.items()}
    for arrival in arrivals:
        if known.judge(arrival.candidate).standing not in _AS_PLANNED[arrival.planned]:
            raise CameFirst
        if arrival.planned is Standing.NEW and _study_of(known, arrival).fragment != arrival.basis:
            raise CameFirst
    # always in this order, so that two nodes wait for each other and never in a circle
    new = sorted((a for a in arrivals if a.planned is Standing.NEW), key=_place)
    studies = _add_studies(tx, new, known, terms)
    keys = _add_series(tx, new, known, studies, terms)
    if new:
        tx.execute(insert(instance), [_instance_row(arrival, keys, terms) for arrival in new])
    _grow(tx, new, known, terms)
    repaired = [{"key": before[a.candidate.indexed.sop_instance_uid]} for a in arrivals if a.planned is Standing.REPAIR]
    if repaired:
        tx.execute(_REPAIRED, repaired)


def _place(arrival: Arrival) -> tuple[str, str, str]:
    one = arrival.candidate.indexed
    return one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid


def _study_of(known: Known, arrival: Arrival) -> KnownStudy:
    return known.studies[arrival.candidate.indexed.study_instance_uid]


def _add_studies(tx: Connection, new: Sequence[Arrival], known: Known, terms: Terms) -> dict[str, int]:
    """The keys of the arrivals' studies by UID; one not known yet is begun by the arrival whose fragment it has."""
    keys = {uid: one.key for uid, one in known.studies.items()}
    founders = [
        arrival.candidate.indexed
        for arrival in new
        if _study_of(known, arrival).key is None and arrival.candidate.indexed.study_fragment == arrival.basis
    ]
    people = _find_patients(tx, founders)
    for one in founders:
        if keys[one.study_instance_uid] is None:
            patient = people.get((one.study["issuer"], one.study["patient_id"]))
            row = {**one.study, "fragment": one.study_fragment, "patient": patient}
            keys[one.study_instance_uid] = _add_study(tx, one.study_instance_uid, row, terms)
    return {uid: key for uid, key in keys.items() if key is not None}


def _find_patients(tx: Connection, founders: Iterable[Indexed]) -> dict[tuple[Column, Column], int]:
    """The keys of patients by issuer and identifier; whoever lacks either is no patient that a permit could name."""
    named = {(str(one.study["issuer"]), str(one.study["patient_id"])) for one in founders if one.study["issuer"]}
    return {(issuer, identifier): patients.find_or_add(tx, identifier, issuer) for issuer, identifier in sorted(named)}


def _add_study(tx: Connection, uid: str, row: Mapping[str, Any], terms: Terms) -> int:
    promise = guaranteed_until(row["study_date"], terms.at, terms.months, terms.zone)
    added = insert(study).values(
        **row,
        study_instance_uid=uid,
        received_at=terms.at,
        available_since=terms.at,
        guaranteed_until=promise.until,
        state=ONLINE,
    )
    key = int(tx.execute(added.returning(study.c.id)).scalar_one())
    if promise.hold:
        reason = "The study date lies in the future."
        tx.execute(insert(hold).values(study=key, reason=reason, placed_by="ingest", placed_at=terms.at))
    return key


def _add_series(
    tx: Connection, new: Sequence[Arrival], known: Known, studies: Mapping[str, int], terms: Terms
) -> dict[str, int]:
    """The keys of the arrivals' series by UID; those not known yet are begun by their first arrival."""
    keys = {uid: one.key for uid, one in known.series.items()}
    for arrival in new:
        one = arrival.candidate.indexed
        if keys[one.series_instance_uid] is not None:
            continue
        added = insert(series).values(
            **one.series,
            study=studies[one.study_instance_uid],
            series_instance_uid=one.series_instance_uid,
            fragment=one.series_fragment,
            instance_count=sum(a.candidate.indexed.series_instance_uid == one.series_instance_uid for a in new),
            changed_at=terms.at,
        )
        key = int(tx.execute(added.returning(series.c.id)).scalar_one())
        keys[one.series_instance_uid] = key
        if one.requests:
            rows = [
                {"series": key, "scheduled_procedure_step_id": step, "requested_procedure_id": procedure}
                for step, procedure in one.requests
            ]
            tx.execute(insert(request_attribute), rows)
    return {uid: key for uid, key in keys.items() if key is not None}


def _instance_row(arrival: Arrival, keys: Mapping[str, int], terms: Terms) -> dict[str, Any]:
    candidate = arrival.candidate
    return {
        **candidate.indexed.instance,
        "series": keys[candidate.indexed.series_instance_uid],
        "archive_id": terms.archive_id,
        "locator": arrival.locator,
        "size_bytes": candidate.size_bytes,
        "digest": candidate.digest,
        "data_set_digest": candidate.data_set_digest,
        "chunk_crcs": candidate.chunk_crcs,
        "fragment": arrival.fragment,
        "received_at": terms.at,
        "state": ONLINE,
    }


def _grow(tx: Connection, new: Sequence[Arrival], known: Known, terms: Terms) -> None:
    """Count the arrivals in the series and studies that were there before."""
    added: dict[int, int] = {}
    grown: dict[int, dict[str, int]] = {}
    for arrival in new:
        one = arrival.candidate.indexed
        key, home = known.series[one.series_instance_uid].key, known.studies[one.study_instance_uid]
        if key is not None:
            added[key] = added.get(key, 0) + 1
        if home.key is not None and home.key not in grown:
            date = home.study_date if isinstance(home.study_date, str) else None
            promise = guaranteed_until(date, terms.at, terms.months, terms.zone)
            grown[home.key] = {"key": home.key, "until": promise.until}
    if grown:
        tx.execute(_GROW_STUDY, [grown[key] for key in sorted(grown)])
    if added:
        tx.execute(_GROW_SERIES, [{"key": key, "added": added[key], "at": terms.at} for key in sorted(added)])


def _rows(tx: Connection, statement: Select[Any], uids: set[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The UID that was asked for, which is the first column, and the other columns by their names."""
    for row in tx.execute(statement, {"uids": sorted(uids)}):
        columns = row._asdict()
        uid = columns.pop(next(iter(columns)))
        yield uid, columns


def _known_instance(row: Row[Any], holds: Holds) -> KnownInstance:
    columns = row._asdict()
    state, archive_id, size = columns.pop("state"), columns.pop("archive_id"), columns.pop("size_bytes")
    return KnownInstance(**columns, held=state == ONLINE and holds(archive_id, columns["digest"], size))
