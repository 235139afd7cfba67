"""Access tokens of this gateway: JWT by RFC 9068, signed with ES256 by a key of the key ring, for this gateway alone.

A token says who asks, for whom and for what purpose. It never says what a patient allowed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from joserfc import jws
from joserfc.jwk import ECKey

from consent.model import Purpose
from gateway.auth.compact_jws import Unproven, Unreadable, instant, prove, read, text
from gateway.auth.errors import Reason
from storage.model import Instant
from storage.sealing import KeyRing

ALGORITHM: Final = "ES256"
KEY_FILE: Final = "access-token.key"
TYPES: Final = frozenset({"at+jwt"})
JTI_BYTES: Final = 16
SCOPE_LIMIT: Final = 1024
SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one access token stands for. `jti` names it; texts are empty where the facility said nothing."""

    jti: str
    client_id: str
    scopes: tuple[str, ...]
    purpose: Purpose
    issued_at: Instant
    expires_at: Instant
    person: str = ""
    person_name: str = ""
    organization: str = ""


def signing_key(keys: KeyRing) -> ECKey:
    """The key that signs access tokens, made on first use."""
    key = ECKey.import_key(keys.load_or_make(KEY_FILE, _new_key))
    key.ensure_kid()
    return key


class AccessTokens:
    """Makes access tokens, and reads its own again.

    Parameters
    ----------
    key : signs; its public half is published
    issuer : the gateway's public URL: issuer and audience both
    life_s : life of a token, seconds
    """

    def __init__(
        self, key: ECKey, *, issuer: str, life_s: int, random: Callable[[int], str] = secrets.token_hex
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._random = random
        self.life_s = life_s

    def new_grant(
        self,
        now: Instant,
        *,
        client_id: str,
        scopes: tuple[str, ...],
        purpose: Purpose,
        person: str = "",
        person_name: str = "",
        organization: str = "",
    ) -> Grant:
        """A grant that begins now and has a name of its own."""
        return Grant(
            jti=self._random(JTI_BYTES),
            client_id=client_id,
            scopes=scopes,
            purpose=purpose,
            issued_at=now,
            expires_at=(now // SECOND + self.life_s) * SECOND,
            person=person,
            person_name=person_name,
            organization=organization,
        )

    def write(self, grant: Grant) -> str:
        """The token of a grant (RFC 9068 2.2)."""
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": grant.client_id,
            "client_id": grant.client_id,
            "iat": grant.issued_at / SECOND,  # exact, so that a change of the facility voids what came before it
            "exp": grant.expires_at // SECOND,
            "jti": grant.jti,
            "scope": " ".join(grant.scopes),
            "purpose_of_use": grant.purpose.value,
        }
        said = {
            "subject_id": grant.person,
            "subject_name": grant.person_name,
            "organization_id": grant.organization,
        }
        claims.update({name: value for name, value in said.items() if value})
        header = {"typ": "at+jwt", "alg": ALGORITHM, "kid": self._key.kid}
        return jws.serialize_compact(header, orjson.dumps(claims), self._key, algorithms=[ALGORITHM])

    def read(self, token: str, now: Instant) -> Grant:
        """What a token of ours stands for.

        Raises
        ------
        Unreadable : it is not ours, not for us, not an access token, bound to a key that was not shown, or over
        """
        unproven = read(token, types=TYPES, algorithms=frozenset({ALGORITHM}))
        if unproven.header.get("kid") != self._key.kid:
            raise Unreadable(Reason.UNKNOWN_KEY)
        prove(unproven, self._key, ALGORITHM)
        return self._grant(unproven, now)

    def public_keys(self) -> dict[str, object]:
        """The JWK Set by which others can check our tokens (RFC 7517)."""
        return {"keys": [self._key.as_dict(private=False, use="sig", alg=ALGORITHM)]}

    def _grant(self, unproven: Unproven, now: Instant) -> Grant:
        claims = unproven.claims
        if claims.get("iss") != self._issuer:
            raise Unreadable(Reason.ISSUER)
        if claims.get("aud") != self._issuer:
            raise Unreadable(Reason.AUDIENCE)
        if "cnf" in claims:  # sender-constrained (RFC 8705, RFC 9449): never good as a plain bearer token
            raise Unreadable(Reason.BOUND)
        issued, expires = (instant(claims, name) for name in ("iat", "exp"))
        if issued is None or expires is None:
            raise Unreadable(Reason.TIME)
        if expires <= now:
            raise Unreadable(Reason.EXPIRED)
        client_id, jti = (_required(claims, name) for name in ("client_id", "jti"))
        purpose = Purpose.__members__.get(_required(claims, "purpose_of_use"))
        if purpose is None or claims.get("sub") != client_id:
            raise Unreadable(Reason.CLAIMS)
        return Grant(
            jti=jti,
            client_id=client_id,
            scopes=tuple(_required(claims, "scope").split(" ")),
            purpose=purpose,
            issued_at=issued,
            expires_at=expires,
            person=text(claims, "subject_id") or "",
            person_name=text(claims, "subject_name") or "",
            organization=text(claims, "organization_id") or "",
        )


def _required(claims: Mapping[str, object], name: str) -> str:
    value = text(claims, name, limit=SCOPE_LIMIT)
    if value is None:
        raise Unreadable(Reason.CLAIMS)
    return value


def _new_key() -> bytes:
    return ECKey.generate_key("P-256").as_pem(private=True)
