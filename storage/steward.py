"""The catalog for those who look after it: counts, objects to check, states of studies, holds (law 2).

Everything here demands a `Custody`, gives no `InstanceRef` and no patient data, and records what it changes in the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, insert, select, update

from storage import epoch
from storage.errors import Guaranteed, StorageError
from storage.guarantee import purge_eligible_at
from storage.log.event import AuditEvent, Kind
from storage.model import Availability, Custody, Instant
from storage.tables import hold, instance, patient, quarantine, series, study

Append = Callable[[Connection, Sequence[AuditEvent]], object]

INSTANCE_STATES: Final = frozenset({"online", "corrupt", "missing"})
WITHDRAWAL: Final = "withdrawn: "
"""A hold whose reason begins like this waits for a second person to confirm a withdrawal."""

_OBJECTS: Final = (
    select(
        instance.c.id.label("key"),
        instance.c.sop_instance_uid,
        instance.c.archive_id,
        instance.c.locator,
        instance.c.digest,
        instance.c.size_bytes,
        instance.c.chunk_crcs,
        instance.c.state,
    )
    .where(instance.c.id > bindparam("after"))
    .order_by(instance.c.id)
    .limit(bindparam("most"))
)
_HAVE: Final = select(instance.c.digest).where(instance.c.digest.in_(bindparam("digests", expanding=True)))
_MARK: Final = (
    update(instance)
    .where(instance.c.sop_instance_uid == bindparam("uid"), instance.c.state != bindparam("new_state"))
    .values(state=bindparam("new_state"))
)
_STUDY: Final = select(
    study.c.id, study.c.available_since, study.c.guaranteed_until, study.c.purge_after, study.c.state
).where(study.c.study_instance_uid == bindparam("uid"))
_HOLDS: Final = (
    select(hold.c.id, hold.c.reason, hold.c.placed_by)
    .where(hold.c.study == bindparam("of_study"), hold.c.lifted_at.is_(None))
    .order_by(hold.c.id)
)
_SET_STATE: Final = (
    update(study)
    .where(study.c.id == bindparam("key"))
    .values(state=bindparam("new_state"), revision=study.c.revision + 1)
)
_LIFT: Final = update(hold).where(hold.c.id == bindparam("key")).values(lifted_at=bindparam("at"))


class UnknownStudy(StorageError):
    """No study with this UID is here."""


class NotPossible(StorageError):
    """The study is not in a state in which this can be done."""


class SecondPersonNeeded(StorageError):
    """Whoever withdrew a study cannot confirm it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A change by a steward: in whose custody, at which instant, in which request, and what writes the record of it."""

    custody: Custody
    append: Append
    at: Instant
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What is here. `studies` and `instances` are by state; `quarantine` counts what waits for an operator."""

    patients: int
    studies: Mapping[str, int]
    series: int
    instances: Mapping[str, int]
    size_bytes: int
    quarantine: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """The bytes that an instance must have, and where."""

    key: int
    sop_instance_uid: str
    archive_id: str
    locator: str
    digest: bytes
    size_bytes: int
    chunk_crcs: bytes
    state: str


def count(tx: Connection, custody: Custody) -> Counts:  # noqa: ARG001 - the right to count
    """How much of everything is here."""
    size = select(func.coalesce(func.sum(instance.c.size_bytes), 0))
    waiting = select(func.count()).select_from(quarantine).where(quarantine.c.state == "held")
    return Counts(
        patients=_number(tx, select(func.count()).select_from(patient)),
        studies=_by_state(tx, study),
        series=_number(tx, select(func.count()).select_from(series)),
        instances=_by_state(tx, instance),
        size_bytes=_number(tx, size),
        quarantine=_number(tx, waiting),
    )


def list_objects(
    tx: Connection,
    custody: Custody,  # noqa: ARG001 - the right to list
    *,
    after: int = 0,
    most: int = 1000,
) -> Sequence[StoredObject]:
    """The objects of instances whose key is greater than `after`, by key: one page of a walk over all."""
    return [StoredObject(**row._asdict()) for row in tx.execute(_OBJECTS, {"after": after, "most": most})]


def have(tx: Connection, custody: Custody, digests: Iterable[bytes]) -> set[bytes]:  # noqa: ARG001 - the right to ask
    """Those of these digests that an instance has."""
    return set(tx.execute(_HAVE, {"digests": list(digests)}).scalars())


def mark(tx: Connection, task: Task, sop_instance_uid: str, state: str) -> bool:
    """Note that an instance's bytes are `corrupt`, `missing` or `online` again; false when that was known already.

    A marked instance stays visible and is answered with 503, never left out (law 5).
    """
    if state not in INSTANCE_STATES:
        raise ValueError(state)
    changed = tx.execute(_MARK, {"uid": sop_instance_uid, "new_state": state}).rowcount > 0
    if changed:
        sealed = {"actor": task.custody.actor, "instance": sop_instance_uid}
        plain = {"job": task.custody.job, "change": f"instance {state}"}
        event = AuditEvent(kind=Kind.STUDY_STATE, at=task.at, request=task.request, plain=plain, sealed=sealed)
        task.append(tx, [event])
    return changed


def availability(tx: Connection, custody: Custody, study_instance_uid: str) -> Availability:  # noqa: ARG001
    """The promise on a study, and what holds it. Raises UnknownStudy."""
    row = _find(tx, study_instance_uid)
    return Availability(
        available_since=row.available_since,
        guaranteed_until=row.guaranteed_until,
        purge_after=row.purge_after,
        state=row.state,
        holds=[found.reason for found in tx.execute(_HOLDS, {"of_study": row.id})],
    )


def place_hold(tx: Connection, task: Task, study_instance_uid: str, reason: str) -> int:
    """Keep a study from being deleted until the hold is lifted; gives its key. Raises UnknownStudy."""
    row = _find(tx, study_instance_uid)
    key = _add_hold(tx, task, row.id, reason)
    _record(tx, task, Kind.HOLD, study_instance_uid, "placed", reason=reason)
    return key


def lift_hold(tx: Connection, task: Task, study_instance_uid: str, key: int) -> None:
    """Lift a hold. Raises UnknownStudy, NotPossible when there is no such hold, or it waits for a confirmation."""
    row = _find(tx, study_instance_uid)
    found = {one.id: one.reason for one in tx.execute(_HOLDS, {"of_study": row.id})}
    if found.get(key, WITHDRAWAL).startswith(WITHDRAWAL):
        raise NotPossible
    tx.execute(_LIFT, {"key": key, "at": task.at})
    _record(tx, task, Kind.HOLD, study_instance_uid, "lifted", reason=found[key])


def withdraw(tx: Connection, task: Task, study_instance_uid: str, reason: str) -> None:
    """Hide a study at once, inside its guarantee too: for an identity error or the patient's safety (law 9).

    It is held until a second person has confirmed it. Raises UnknownStudy, NotPossible.
    """
    row = _find(tx, study_instance_uid)
    if row.state not in {"online", "tombstoned"} or not reason.strip():
        raise NotPossible
    _add_hold(tx, task, row.id, WITHDRAWAL + reason)
    _set_state(tx, row.id, "withdrawn")
    _record(tx, task, Kind.STUDY_STATE, study_instance_uid, "withdrawn", reason=reason)


def confirm_withdrawal(tx: Connection, task: Task, study_instance_uid: str) -> None:
    """The second person's word. Raises UnknownStudy, NotPossible, SecondPersonNeeded."""
    row = _find(tx, study_instance_uid)
    waiting = _unconfirmed(tx, row.id)
    if row.state != "withdrawn" or not waiting:
        raise NotPossible
    if any(one.placed_by == task.custody.actor for one in waiting):
        raise SecondPersonNeeded
    tx.execute(_LIFT, [{"key": one.id, "at": task.at} for one in waiting])
    _record(tx, task, Kind.STUDY_STATE, study_instance_uid, "withdrawal confirmed")


def tombstone(tx: Connection, task: Task, study_instance_uid: str) -> None:
    """Hide a study whose time is over, before it is deleted; it can be restored until then.

    Raises
    ------
    Guaranteed : the guarantee has not ended, no policy lets it go, or it is held (law 9)
    UnknownStudy, NotPossible : there is no such study online
    """
    row = _find(tx, study_instance_uid)
    if row.state != "online":
        raise NotPossible
    held = tx.execute(_HOLDS, {"of_study": row.id}).first() is not None
    eligible = purge_eligible_at(row.guaranteed_until, row.purge_after, held=held)
    if eligible is None or task.at < eligible:
        raise Guaranteed
    _set_state(tx, row.id, "tombstoned")
    _record(tx, task, Kind.STUDY_STATE, study_instance_uid, "tombstoned")


def restore(tx: Connection, task: Task, study_instance_uid: str) -> None:
    """Show a withdrawn or tombstoned study again. Raises UnknownStudy, NotPossible."""
    row = _find(tx, study_instance_uid)
    if row.state not in {"withdrawn", "tombstoned"}:
        raise NotPossible
    waiting = _unconfirmed(tx, row.id)
    if waiting:
        tx.execute(_LIFT, [{"key": one.id, "at": task.at} for one in waiting])
    _set_state(tx, row.id, "online")
    _record(tx, task, Kind.STUDY_STATE, study_instance_uid, "restored")


def _set_state(tx: Connection, key: int, state: str) -> None:
    tx.execute(_SET_STATE, {"key": key, "new_state": state})
    epoch.bump(tx)  # what is being sent of it now is decided again (law 8)


def _record(tx: Connection, task: Task, kind: Kind, study_instance_uid: str, change: str, *, reason: str = "") -> None:
    event = AuditEvent(
        kind=kind,
        at=task.at,
        request=task.request,
        plain={"job": task.custody.job, "change": change},
        sealed={"actor": task.custody.actor, "study": study_instance_uid, "reason": reason},
        subjects=[("study", study_instance_uid)],
    )
    task.append(tx, [event])


def _add_hold(tx: Connection, task: Task, key: int, reason: str) -> int:
    row = insert(hold).values(study=key, reason=reason, placed_by=task.custody.actor, placed_at=task.at)
    return int(tx.execute(row.returning(hold.c.id)).scalar_one())


def _unconfirmed(tx: Connection, key: int) -> list[Any]:
    return [one for one in tx.execute(_HOLDS, {"of_study": key}) if one.reason.startswith(WITHDRAWAL)]


def _find(tx: Connection, study_instance_uid: str) -> Any:
    row = tx.execute(_STUDY, {"uid": study_instance_uid}).first()
    if row is None:
        raise UnknownStudy
    return row


def _number(tx: Connection, statement: Any) -> int:
    return int(tx.execute(statement).scalar_one())


def _by_state(tx: Connection, table: Any) -> dict[str, int]:
    statement = select(table.c.state, func.count()).group_by(table.c.state).order_by(table.c.state)
    return {row[0]: row[1] for row in tx.execute(statement)}
