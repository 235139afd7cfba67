"""What time alone changes: which consents have ended, and when a facility's view may next change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Select, bindparam, func, select

from consent.chain import IS_LATEST
from consent.rules import AT, EVERYBODY, FACILITY, word
from consent.tables import consent, consent_grant
from storage.model import Instant

_ENDED_GRANTS: Final = (
    select(consent_grant.c.consent_id)
    .where(consent_grant.c.valid_until <= bindparam("by"), consent_grant.c.revoked_at.is_(None))
    .distinct()
    .limit(bindparam("most"))
)
_ENDED_SUSPENDED: Final = (
    select(consent.c.consent_id)
    .where(consent.c.state == word("suspended"), consent.c.effective_until <= bindparam("by"), IS_LATEST)
    .limit(bindparam("most"))
)


def ended(tx: Connection, at: Instant, limit: int) -> Sequence[str]:
    """The numbers of active or suspended consents that ended by `at`."""
    asked = {"by": at, "most": limit}
    found = [row.consent_id for statement in (_ENDED_GRANTS, _ENDED_SUSPENDED) for row in tx.execute(statement, asked)]
    return list(dict.fromkeys(found))[:limit]


def next_times() -> Select[*tuple[Any, ...]]:
    """The next instants at which a grant ends, or a refusal begins, that names the facility or everybody."""
    ends = [_next(consent_grant.c.valid_until, named) for named in (FACILITY, EVERYBODY)]
    refused = consent_grant.c.effect == word("deny")
    begins = [_next(consent_grant.c.valid_from, named, refused) for named in (FACILITY, EVERYBODY)]
    return select(*ends, *begins)


def _next(column: Column[int], named: ColumnElement[str], *more: ColumnElement[bool]) -> ColumnElement[int | None]:
    """The first instant after `at`, one index seek: hence one facility at a time."""
    conditions = (consent_grant.c.facility == named, column > AT, consent_grant.c.revoked_at.is_(None), *more)
    return select(func.min(column)).where(*conditions).scalar_subquery()
