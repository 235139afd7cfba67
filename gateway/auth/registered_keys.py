"""A facility's public keys (RFC 7517): which are accepted, and which one a token means.

A key is good for the algorithms of its own kind only (RFC 8725 3.1), so that a token cannot choose between them.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, RSAKey

from gateway.auth.compact_jws import TEXT_LIMIT, Unreadable, parse_object
from gateway.auth.errors import BadKeySet

# SMART asks for RS384 and ES384, FAPI 2.0 for PS256 and ES256. Never none, never a shared secret.
ALGORITHMS: Final = ("ES256", "ES384", "PS256", "PS384", "RS384")
ACCEPTED: Final = frozenset(ALGORITHMS)
_BY_CURVE: Final[Mapping[str, frozenset[str]]] = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
}
_RSA: Final = frozenset({"PS256", "PS384", "RS384"})
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
RSA_BITS: Final = (2048, 8192)
EXPONENT_BITS: Final = 32
KEYS_LIMIT: Final = 64  # keys in one set


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredKey:
    """A public key, its name, and what it may verify."""

    kid: str
    algorithms: frozenset[str]
    key: Key


@lru_cache(maxsize=256)
def read_key_set(document: bytes) -> Sequence[RegisteredKey]:
    """The keys of a JWK Set that can be used; what is of no use is left out (RFC 7517 5).

    Raises
    ------
    BadKeySet : it is no JWK Set
    """
    try:
        members = parse_object(document).get("keys")
    except Unreadable as error:
        raise BadKeySet from error
    if not isinstance(members, list) or len(members) > KEYS_LIMIT:
        raise BadKeySet
    keys = (_read_key(member) for member in members if isinstance(member, dict))
    return tuple(key for key in keys if key is not None)


def select(keys: Sequence[RegisteredKey], kid: object, algorithm: str) -> Key | None:
    """The one key that a header means, or None: no name, an unknown name, or a key of another kind."""
    found = [key for key in keys if key.kid == kid and algorithm in key.algorithms]
    return found[0].key if len(found) == 1 else None


def _read_key(member: dict[str, object]) -> RegisteredKey | None:
    kid = member.get("kid")
    algorithms = _algorithms(member)
    if not algorithms or not isinstance(kid, str) or not 0 < len(kid) <= TEXT_LIMIT or _PRIVATE & member.keys():
        return None
    kind: type[ECKey | RSAKey] = RSAKey if member["kty"] == "RSA" else ECKey
    public = {name: member[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in member}
    try:
        key = kind.import_key(cast("dict[str, str | list[str]]", public))
    except (JoseError, ValueError, TypeError):
        return None
    return RegisteredKey(kid=kid, algorithms=algorithms, key=key)


def _algorithms(member: dict[str, object]) -> frozenset[str]:
    """What a key may verify, by its kind and by what `use`, `key_ops` and `alg` leave (RFC 7517 4.2 to 4.4)."""
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return frozenset()
    found: frozenset[str] = frozenset()
    if member.get("kty") == "RSA" and _is_sound(member):
        found = _RSA
    elif member.get("kty") == "EC":
        found = next((algorithms for curve, algorithms in _BY_CURVE.items() if curve == member.get("crv")), found)
    named = member.get("alg")
    return found if "alg" not in member else found & {named if isinstance(named, str) else ""}


def _is_sound(member: dict[str, object]) -> bool:
    """An RSA key that is neither weak nor so large that checking it costs much."""
    modulus, exponent = (_bits(member.get(name)) for name in ("n", "e"))
    return RSA_BITS[0] <= modulus <= RSA_BITS[1] and 1 < exponent <= EXPONENT_BITS


def _bits(value: object) -> int:
    if not isinstance(value, str) or len(value) > 2 * RSA_BITS[1] // 8:
        return 0
    try:
        return int.from_bytes(urlsafe_b64decode(value + "=" * (-len(value) % 4))).bit_length()
    except ValueError:
        return 0
