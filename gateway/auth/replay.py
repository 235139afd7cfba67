"""What counts once, and what no longer counts: assertions used, tokens revoked (RFC 7523 3, RFC 7009).

Both stand in the database, so that they hold on every node and after a restart.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Text, bindparam, delete, exists, func, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from gateway.auth.tables import assertion_used, sign_in_failure, staff_session, token_revoked
from storage import epoch
from storage.model import Instant

KEPT: Final = 600_000_000  # microseconds beyond the end, so that a node whose clock is behind still finds it
_IS_REVOKED = select(exists().where(token_revoked.c.jti == bindparam("which")))


def _use_on_postgresql() -> ReturningInsert[tuple[str]]:
    """Never waits for another node that is using the same assertion up: it takes the other for the first.

    One transaction carries many requests, so two nodes that waited for each other's assertions would never end.
    """
    row = [bindparam(column.name, type_=column.type) for column in assertion_used.c]
    name = bindparam("issuer", type_=Text) + " " + bindparam("jti", type_=Text)
    alone = func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0))
    source = select(*row).where(alone)
    insertion = postgresql.insert(assertion_used).from_select(list(assertion_used.c.keys()), source)
    return insertion.on_conflict_do_nothing().returning(assertion_used.c.jti)


_USE = {
    "postgresql": _use_on_postgresql(),
    "sqlite": sqlite.insert(assertion_used).on_conflict_do_nothing().returning(assertion_used.c.jti),
}


def use_assertion(tx: Connection, issuer: str, jti: str, expires_at: Instant) -> bool:
    """Use an assertion up; false when it was used before, here or elsewhere."""
    row = {"issuer": issuer, "jti": jti, "expires_at": expires_at}
    return tx.execute(_USE[tx.dialect.name], row).first() is not None


def revoke_token(tx: Connection, jti: str, expires_at: Instant) -> bool:
    """End a token before its time, everywhere; false when it had been revoked before."""
    if is_token_revoked(tx, jti):
        return False
    epoch.bump(tx)  # first: whoever revokes elsewhere waits for this, and then finds what was written
    if is_token_revoked(tx, jti):
        return False
    tx.execute(insert(token_revoked), {"jti": jti, "expires_at": expires_at})
    return True


def is_token_revoked(tx: Connection, jti: str) -> bool:
    """Whether this token was ended before its time."""
    return bool(tx.execute(_IS_REVOKED, {"which": jti}).scalar_one())


def sweep(tx: Connection, now: Instant, *, idle: int) -> int:
    """Forget what can no longer matter: assertions, revocations, sessions and failed sign-ins that are over.

    `idle` is how long a session may rest, in microseconds. Gives the number of rows.
    """
    over = now - KEPT
    rested = staff_session.c.last_used_at < now - idle - KEPT
    statements = (
        delete(assertion_used).where(assertion_used.c.expires_at < over),
        delete(token_revoked).where(token_revoked.c.expires_at < over),
        delete(staff_session).where(or_(staff_session.c.expires_at < over, rested)),
        delete(sign_in_failure).where(sign_in_failure.c.at < now - 86_400_000_000),
    )
    return sum(tx.execute(statement).rowcount for statement in statements)
