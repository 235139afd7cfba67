"""A facility proves who it is: private_key_jwt (RFC 7521 4.2, RFC 7523 3, SMART Backend Services).

The assertion's `jti` is not looked at here: it is used up in the transaction that records what came of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from consent import parties
from consent.errors import UnknownFacility
from consent.parties import Facility, FacilityState
from gateway.auth.compact_jws import Unproven, Unreadable, instant, prove, read, text
from gateway.auth.errors import InvalidClient, InvalidRequest, Reason
from gateway.auth.facility_keys import FacilityKeys
from gateway.auth.registered_keys import ACCEPTED
from storage.database import Database
from storage.model import Instant

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYPES: Final = frozenset({"", "jwt", "client-authentication+jwt"})
LONGEST_LIFE: Final = 300_000_000  # SMART and UDAP: five minutes at most
SKEW: Final = 60_000_000  # how far a client's clock may be ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenClient:
    """A facility that has proved who it is, and the assertion it did it with."""

    facility: Facility
    jti: str
    expires_at: Instant
    algorithm: str
    claims: Mapping[str, object]


class ClientAuthentication:
    """Authenticates facilities at the endpoints of the authorization server.

    Parameters
    ----------
    audience : the token endpoint; what an assertion must be meant for
    clock : the present instant
    """

    def __init__(self, database: Database, keys: FacilityKeys, *, audience: str, clock: Callable[[], Instant]) -> None:
        self._database = database
        self._keys = keys
        self._audience = audience
        self._clock = clock

    async def authenticate(self, form: Mapping[str, str], *, also_for: str | None = None) -> ProvenClient:
        """The facility that sent this form. `also_for` is a second audience that this endpoint answers to.

        Raises
        ------
        InvalidRequest : the form uses several ways to authenticate
        InvalidClient : it proves nothing; told alike for every cause
        """
        if "client_secret" in form:
            raise InvalidRequest("Authenticate with private_key_jwt alone.")
        try:
            unproven = read(_assertion(form), types=TYPES, algorithms=ACCEPTED)
            client_id = self._check_claims(unproven, form.get("client_id"), {self._audience, also_for})
            facility = await self._active(client_id)
            _check_address(unproven, facility)
            key = await self._keys.find(facility, unproven.header.get("kid"), unproven.algorithm)
            prove(unproven, key, unproven.algorithm)
            return _proven(facility, unproven)
        except Unreadable as error:
            raise InvalidClient(error.reason) from error

    def _check_claims(self, unproven: Unproven, named: str | None, audiences: set[str | None]) -> str:
        """Everything that can be checked without a key; gives the client_id."""
        claims = unproven.claims
        issuer = text(claims, "iss")
        if issuer is None or claims.get("sub") != issuer or named not in {None, issuer}:
            raise Unreadable(Reason.ISSUER)
        if claims.get("azp", issuer) != issuer:
            raise Unreadable(Reason.ISSUER)
        if text(claims, "jti") is None:
            raise Unreadable(Reason.CLAIMS)
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        if not isinstance(audience, str) or audience not in audiences:
            raise Unreadable(Reason.AUDIENCE)
        check_times(claims, self._clock())
        return issuer

    async def _active(self, client_id: str) -> Facility:
        try:
            facility = await self._database.fetch(parties.get, client_id)
        except UnknownFacility as error:
            raise Unreadable(Reason.UNKNOWN_CLIENT) from error
        if facility.state is not FacilityState.ACTIVE:
            raise Unreadable(Reason.INACTIVE)
        return facility


def check_times(claims: Mapping[str, object], now: Instant) -> None:
    """Not expired, not from the future, and not valid for long.

    A client whose clock is ahead by the allowed skew is still held to five minutes from its own `iat`.

    Raises
    ------
    Unreadable : TIME, or CLAIMS for what is no time
    """
    expires = instant(claims, "exp")
    issued = instant(claims, "iat")
    not_before = instant(claims, "nbf")
    if expires is None or expires <= now:
        raise Unreadable(Reason.TIME)
    if max(issued or 0, not_before or 0) > now + SKEW:
        raise Unreadable(Reason.TIME)
    if expires > max(now, issued or 0) + LONGEST_LIFE:
        raise Unreadable(Reason.TIME)


def _assertion(form: Mapping[str, str]) -> str:
    if form.get("client_assertion_type") != ASSERTION_TYPE or "client_assertion" not in form:
        raise Unreadable(Reason.NONE_SHOWN)
    return form["client_assertion"]


def _check_address(unproven: Unproven, facility: Facility) -> None:
    """SMART: a `jku` is never followed, and one that is not the registered address makes the signature void."""
    if "jku" in unproven.header and unproven.header["jku"] != facility.jwks_uri:
        raise Unreadable(Reason.UNKNOWN_KEY)


def _proven(facility: Facility, unproven: Unproven) -> ProvenClient:
    expires = instant(unproven.claims, "exp")
    jti = text(unproven.claims, "jti")
    assert expires is not None  # both were checked before the key was looked for
    assert jti is not None
    return ProvenClient(
        facility=facility, jti=jti, expires_at=expires, algorithm=unproven.algorithm, claims=unproven.claims
    )
