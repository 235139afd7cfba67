"""What time alone changes: when a facility's view may next change, and which consents have ended.

Each active consent notes its instants; they are forgotten when it is over. A suspended one keeps them, so that it
expires as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Connection, Select, bindparam, delete, func, insert, select

from consent.model import ANY, Consent, Effect
from consent.rules import AT, EVERYBODY, FACILITY
from consent.tables import consent_time
from storage.model import Instant

_FORGET: Final = delete(consent_time).where(consent_time.c.consent_id == bindparam("of_consent"))
_ENDED: Final = (
    select(consent_time.c.consent_id)
    .where(consent_time.c.ends == bindparam("ending", type_=Boolean), consent_time.c.at <= bindparam("by"))
    .distinct()
    .limit(bindparam("most"))
)


def note(tx: Connection, version: Consent) -> None:
    """Remember when this active version ends and, for a refusal that is yet to begin, when it does."""
    forget(tx, version.consent_id)
    facilities = (ANY,) if version.any_facility else version.facilities
    rows = [
        {"consent_id": version.consent_id, "facility": facility, "at": at, "ends": ends}
        for facility in facilities
        for at, ends in _instants(version)
    ]
    if rows:
        tx.execute(insert(consent_time), rows)


def forget(tx: Connection, consent_id: str) -> None:
    """This consent is over: time changes nothing about it any more."""
    tx.execute(_FORGET, {"of_consent": consent_id})


def ended(tx: Connection, at: Instant, limit: int) -> Sequence[str]:
    """The numbers of active or suspended consents that ended by `at`."""
    return [row.consent_id for row in tx.execute(_ENDED, {"ending": True, "by": at, "most": limit})]


def next_times() -> Select[*tuple[Any, ...]]:
    """The next instants, after `at`, of consents that name the facility and of those that are for everybody."""
    return select(_next(FACILITY), _next(EVERYBODY))


def _next(named: ColumnElement[str]) -> ColumnElement[int | None]:
    """One index seek: hence one facility at a time."""
    found = select(func.min(consent_time.c.at)).where(consent_time.c.facility == named, consent_time.c.at > AT)
    return found.scalar_subquery()


def _instants(version: Consent) -> Iterator[tuple[Instant, bool]]:
    if version.ends:
        yield version.effective_until, True
    if version.effect is Effect.DENY and version.effective_from > version.recorded_at:
        yield version.effective_from, False
