"""Signing in and out. A wrong address, a wrong password and too many tries get one answer, on one beat."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from consent.record import Record
from gateway.auth.errors import Reason, SignInRefused
from gateway.auth.passwords import Passwords
from gateway.auth.refusals import Refusals
from gateway.auth.session import Session, end_session, open_session
from gateway.auth.staff import EMAIL_LIMIT, StaffAccount, find, normal_email
from gateway.auth.tables import sign_in_failure
from gateway.beat import until_beat
from storage import epoch
from storage.database import Database
from storage.log.event import AuditEvent, Kind
from storage.model import Instant

TRIES: Final = 5
WINDOW: Final = 15 * 60 * 1_000_000  # microseconds in which they are counted
BEAT_S: Final = 0.5  # a refusal takes a whole number of these
_TRIED = select(func.count()).where(
    sign_in_failure.c.email == bindparam("by_email"), sign_in_failure.c.at > bindparam("since")
)


class SignIn:
    """Opens and ends sessions.

    Parameters
    ----------
    beat_s : refusals leave on this beat, seconds
    """

    def __init__(
        self,
        database: Database,
        log: Record,
        passwords: Passwords,
        refusals: Refusals,
        *,
        clock: Callable[[], Instant],
        beat_s: float = BEAT_S,
    ) -> None:
        self._database = database
        self._log = log
        self._passwords = passwords
        self._refusals = refusals
        self._clock = clock
        self._beat_s = beat_s

    async def sign_in(self, email: str, password: str, *, request: str) -> tuple[str, Session]:
        """A new session and the value of its cookie. A session that the browser already had is not continued.

        Raises
        ------
        SignInRefused : whatever the cause
        SignInBusy : too many people are signing in at this moment
        """
        began = time.monotonic()
        address = normal_email(email)[:EMAIL_LIMIT] if email.isprintable() else ""  # which is nobody's
        account = await self._check(address, password, request)
        if account is None:
            await until_beat(began, self._beat_s)
            raise SignInRefused
        return await self._database.commit(self._open, account, request)

    async def sign_out(self, session: Session, *, request: str) -> None:
        """End a session, on every node at once."""
        await self._database.commit(self._end, session, request)

    async def _check(self, address: str, password: str, request: str) -> StaffAccount | None:
        # a try is written down before the password is looked at, so that many tries at once are counted as many
        free = await self._database.commit(_note_try, address, self._clock())
        account = await self._database.fetch(find, address)
        usable = account if free and account is not None and account.active else None
        if await self._passwords.verify(usable.password if usable else None, password):
            return usable
        if not free or account is None:  # anybody can try as often, and under as many addresses, as they like
            self._refusals.count("sign-in", Reason.UNKNOWN_STAFF if free else Reason.TOO_MANY)
        else:
            await self._database.commit(self._append, Kind.SIGN_IN_FAILED, account, request)
        return None

    def _open(self, tx: Connection, checked: StaffAccount, request: str) -> tuple[str, Session]:
        account = find(tx, checked.email)
        if account != checked:  # closed, or given another password, since it was looked at
            raise SignInRefused
        tx.execute(delete(sign_in_failure).where(sign_in_failure.c.email == account.email))
        self._append(tx, Kind.SIGN_IN, account, request)
        return open_session(tx, account, self._clock())

    def _end(self, tx: Connection, session: Session, request: str) -> None:
        if end_session(tx, session.digest):
            epoch.bump(tx)  # what still runs on this session is looked at again
            self._append(tx, Kind.SIGN_OUT, session, request)

    def _append(self, tx: Connection, kind: Kind, who: StaffAccount | Session, request: str) -> None:
        event = AuditEvent(
            kind=kind,
            at=self._clock(),
            request=request,
            plain={"role": who.role.value},
            sealed={"person": who.email},
            subjects=[("person", who.email)],
        )
        self._log.append(tx, event)


def _note_try(tx: Connection, address: str, now: Instant) -> bool:
    """Count this try; false when there were too many, which counts no further ones."""
    tried = tx.execute(_TRIED, {"by_email": address, "since": now - WINDOW}).scalar_one()
    if tried >= TRIES:
        return False
    tx.execute(insert(sign_in_failure), {"email": address, "at": now, "count": 1})
    return True
