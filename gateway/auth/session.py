"""Sessions of the people who work here: a random cookie, of which the database keeps the digest alone.

A session rests at most 30 minutes and lives at most 12 hours. It is read from the database on every request, so that
signing out and closing an account hold at once on every node.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, update

from consent.model import Purpose, Requester
from gateway.auth.credentials import Credentials
from gateway.auth.errors import NotAuthenticated, Reason
from gateway.auth.staff import ACTIVE, Role, StaffAccount
from gateway.auth.tables import staff, staff_session
from storage.database import Database
from storage.model import Instant

PROVEN: Final = "session"
STAFF: Final = "staff"  # the facility of everybody who works here
IDLE: Final = 30 * 60 * 1_000_000  # microseconds
LONGEST: Final = 12 * 3600 * 1_000_000
NOTED: Final = 60 * 1_000_000  # a use is written down once a minute at most
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_FIND = (
    select(staff_session, staff.c.email, staff.c.role)
    .join(staff, staff.c.id == staff_session.c.staff)
    .where(and_(staff_session.c.digest == bindparam("which"), staff.c.state == ACTIVE))
)
_NOTE = (
    update(staff_session)
    .where(staff_session.c.digest == bindparam("which"), staff_session.c.last_used_at < bindparam("now"))
    .values(last_used_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who works here, signed in. `csrf` is what their forms must carry."""

    digest: bytes
    staff: int
    email: str
    role: Role
    csrf: str
    expires_at: Instant
    last_used_at: Instant


def open_session(
    tx: Connection, account: StaffAccount, now: Instant, random: Callable[[int], str] = secrets.token_urlsafe
) -> tuple[str, Session]:
    """A new session, and the value of its cookie, which exists nowhere else."""
    value, csrf = random(32), random(32)
    session = Session(
        digest=_digest(value),
        staff=account.id,
        email=account.email,
        role=account.role,
        csrf=csrf,
        expires_at=now + LONGEST,
        last_used_at=now,
    )
    row = {"digest": session.digest, "staff": account.id, "csrf": csrf, "created_at": now}
    tx.execute(insert(staff_session), {**row, "expires_at": session.expires_at, "last_used_at": now})
    return value, session


def end_session(tx: Connection, digest: bytes) -> bool:
    """End a session; false when it had ended already."""
    return tx.execute(delete(staff_session).where(staff_session.c.digest == digest)).rowcount == 1


def find_session(tx: Connection, digest: bytes) -> Session | None:
    """The session with this digest, of an account that is open."""
    row = tx.execute(_FIND, {"which": digest}).first()
    return None if row is None else _session(row)


def is_session_over(tx: Connection, requester: Requester) -> bool:
    """Whether the session that a requester was made from has ended, by sign-out or by an administrator."""
    session = find_session(tx, bytes.fromhex(requester.credential))
    return session is None or _scope(session.role) not in requester.scopes


class SessionAuthenticator:
    """Checks session cookies.

    Parameters
    ----------
    facility_name : this hospital, as the record names it
    """

    def __init__(self, database: Database, *, facility_name: str, clock: Callable[[], Instant]) -> None:
        self._database = database
        self._facility_name = facility_name
        self._clock = clock

    async def authenticate(self, credentials: Credentials) -> Requester | None:
        """Who shows this cookie, or None where no cookie is shown; raises as `session`."""
        if credentials.session is None:
            return None
        return self.requester(await self.session(credentials))

    def requester(self, session: Session) -> Requester:
        """Who asks in this session."""
        return Requester(
            facility=STAFF,
            facility_name=self._facility_name,
            affiliated=True,
            purpose=Purpose.HOPERAT,
            proven=PROVEN,
            credential=session.digest.hex(),
            expires_at=min(session.expires_at, session.last_used_at + IDLE),
            person=session.email,
            scopes=frozenset({_scope(session.role)}),
        )

    async def session(self, credentials: Credentials) -> Session:
        """The session behind a cookie: its role and the token that its forms must carry.

        Raises
        ------
        NotAuthenticated : there is none, it rested too long, it is too old, or it was ended
        """
        value = credentials.session
        if value is None:
            raise NotAuthenticated(Reason.NONE_SHOWN)
        if not _VALUE.fullmatch(value):
            raise NotAuthenticated(Reason.MALFORMED)
        session = await self._database.fetch(find_session, _digest(value))
        now = self._clock()
        if session is None:
            raise NotAuthenticated(Reason.REVOKED)
        if now >= min(session.expires_at, session.last_used_at + IDLE):
            raise NotAuthenticated(Reason.EXPIRED)
        if now - session.last_used_at >= NOTED:
            await self._database.commit(_note_use, session.digest, now)
        return session


def _note_use(tx: Connection, digest: bytes, now: Instant) -> None:
    tx.execute(_NOTE, {"which": digest, "now": now})


def _digest(value: str) -> bytes:
    return sha256(value.encode()).digest()


def _scope(role: Role) -> str:
    return f"{STAFF}/{role.value}"


def _session(row: Row[Any]) -> Session:
    return Session(
        digest=bytes(row.digest),
        staff=row.staff,
        email=row.email,
        role=Role(row.role),
        csrf=row.csrf,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
