"""The resource server's side: an access token becomes a `Requester` (RFC 6750, RFC 9068).

A signature is checked once per token. What is remembered holds for one epoch: when it moved, the facility's state
and the token's revocation are read again from the database, which is what makes both take effect on every node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection

from consent import parties
from consent.errors import UnknownFacility
from consent.model import FOREVER, PERSON_NOT_STATED, Requester
from consent.parties import Facility, FacilityState
from gateway.auth.access_tokens import AccessTokens, Grant
from gateway.auth.compact_jws import Unreadable
from gateway.auth.credentials import Credentials
from gateway.auth.errors import NotAuthenticated, Reason
from gateway.auth.replay import is_token_revoked
from gateway.auth.session import PROVEN as SESSION
from gateway.auth.session import is_session_over
from storage.database import Database
from storage.model import Instant

PROVEN: Final = "bearer"
REMEMBERED: Final = 10_000  # tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A token that was good in one epoch."""

    epoch: int
    grant: Grant
    requester: Requester


class BearerAuthenticator:
    """Checks access tokens and remembers the good ones.

    Parameters
    ----------
    epoch : the epoch, kept current from the database by somebody else; what it raises is passed on
    limit : how many tokens are remembered
    """

    def __init__(
        self,
        tokens: AccessTokens,
        database: Database,
        *,
        epoch: Callable[[], int],
        clock: Callable[[], Instant],
        limit: int = REMEMBERED,
    ) -> None:
        self._tokens = tokens
        self._database = database
        self._epoch = epoch
        self._clock = clock
        self._limit = limit
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def authenticate(self, credentials: Credentials) -> Requester | None:
        """Who shows this token, or None where no token is shown.

        Raises
        ------
        NotAuthenticated : the token does not count, or no longer does
        """
        token = credentials.token
        if token is None:
            return None
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known.epoch == self._epoch() and self._clock() < known.grant.expires_at:
            return known.requester
        try:
            return await self._look(token, digest, known.grant if known else None)
        except Unreadable as error:
            self._known.pop(digest, None)
            raise NotAuthenticated(error.reason) from error

    async def _look(self, token: str, digest: bytes, grant: Grant | None) -> Requester:
        now = self._clock()
        if grant is None:
            grant = self._tokens.read(token, now)
        elif grant.expires_at <= now:
            raise Unreadable(Reason.EXPIRED)
        epoch = self._epoch()  # before the database is read: a change after this moves the epoch and is read then
        facility = await self._database.fetch(standing, grant)
        requester = _requester(grant, facility)
        self._remember(digest, _Known(epoch=epoch, grant=grant, requester=requester), now)
        return requester

    def _remember(self, digest: bytes, entry: _Known, now: Instant) -> None:
        """Keep a good token; those that are over go first, then the oldest, which are checked when they come back."""
        self._known.pop(digest, None)
        while self._known:
            oldest, held = next(iter(self._known.items()))
            if held.grant.expires_at > now and len(self._known) < self._limit:
                break
            self._known.pop(oldest)
        self._known[digest] = entry


def standing(tx: Connection, grant: Grant) -> Facility:
    """The facility behind a token, as it stands now.

    Raises
    ------
    Unreadable : the token was revoked, the facility is not active, or may no longer have what the token says
    """
    try:
        facility = parties.get(tx, grant.client_id)
    except UnknownFacility as error:
        raise Unreadable(Reason.UNKNOWN_CLIENT) from error
    if facility.state is not FacilityState.ACTIVE:
        raise Unreadable(Reason.INACTIVE)
    if grant.issued_at < facility.changed_at:  # before its keys were replaced, or before it was let in again
        raise Unreadable(Reason.NO_LONGER_ALLOWED)
    if is_token_revoked(tx, grant.jti):
        raise Unreadable(Reason.REVOKED)
    if grant.purpose not in facility.purposes or not set(grant.scopes) <= set(facility.scopes):
        raise Unreadable(Reason.NO_LONGER_ALLOWED)
    return facility


def is_revoked(tx: Connection, requester: Requester) -> bool:
    """Whether the credential of a requester no longer counts, for a reason other than its age.

    What a watcher of running downloads asks when the epoch moved.
    """
    if requester.proven == SESSION:
        return is_session_over(tx, requester)
    grant = Grant(
        jti=requester.credential,
        client_id=requester.facility,
        scopes=tuple(requester.scopes),
        purpose=requester.purpose,
        issued_at=FOREVER,  # not known here; the next request of this token is asked about it
        expires_at=requester.expires_at,
    )
    try:
        standing(tx, grant)
    except Unreadable:
        return True
    return False


def _requester(grant: Grant, facility: Facility) -> Requester:
    return Requester(
        facility=facility.client_id,
        facility_name=facility.name,
        affiliated=facility.affiliated,
        purpose=grant.purpose,
        proven=PROVEN,
        credential=grant.jti,
        expires_at=grant.expires_at,
        person=grant.person or grant.person_name or PERSON_NOT_STATED,
        scopes=frozenset(grant.scopes),
    )
