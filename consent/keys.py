"""A facility's public keys as they are registered (RFC 7517): public members only, in a form that can verify.

Whether a key can be imported at all is for the token endpoint to say; here no secret is let in.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from json import dumps
from typing import Any, Final, cast
from urllib.parse import urlsplit

from consent.errors import ImproperFacility

MOST_KEYS: Final = 64
LONGEST_KID: Final = 512
SECRET: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
CURVES: Final = {"P-256": 32, "P-384": 48}  # bytes of a coordinate (RFC 7518 6.2.1.2)
RSA_BYTES: Final = (256, 1024)  # of the modulus
ALGORITHMS: Final[Mapping[str, frozenset[str]]] = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "RSA": frozenset({"PS256", "PS384", "RS384"}),
}
REQUIRED: Final = {"EC": ("crv", "x", "y"), "RSA": ("e", "n")}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def public_keys(jwks: Mapping[str, Any]) -> dict[str, Any]:
    """The set, reduced to the members that verification needs.

    Raises
    ------
    ImproperFacility : no set, no key, too many, two of one name, a secret, or a key that cannot be used
    """
    members = jwks.get("keys")
    if not isinstance(members, list) or not 0 < len(members) <= MOST_KEYS:
        raise ImproperFacility(f"A key set has 1 to {MOST_KEYS} public keys.")
    keys = [_public_key(member) for member in members]
    if len({key["kid"] for key in keys}) != len(keys):
        raise ImproperFacility("Two keys of the set have the same name (kid).")
    return {"keys": keys}


def thumbprints(jwks: Mapping[str, Any]) -> list[str]:
    """What names each key in the record (RFC 7638): the same key always has the same name."""
    return sorted(_thumbprint(key) for key in jwks["keys"])


def check_address(jwks_uri: str) -> str:
    """The address of a key set: https, or plain http on this machine alone (law 11).

    Raises
    ------
    ImproperFacility : it is neither, or holds a user name or fragment
    """
    try:
        parts = urlsplit(jwks_uri)
        usable = bool(parts.hostname) and not parts.username and not parts.password and not parts.fragment
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        usable = usable and secure and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not jwks_uri.isascii() or not jwks_uri.isprintable() or " " in jwks_uri:
        raise ImproperFacility("The address of the keys must begin with https:// and name a host, nothing more.")
    return jwks_uri


def _public_key(member: object) -> dict[str, Any]:
    if not isinstance(member, dict) or str(member.get("kty")) not in REQUIRED:
        raise ImproperFacility("Keys are EC (P-256, P-384) or RSA; a shared secret is no public key.")
    if SECRET & member.keys():
        raise ImproperFacility("The file holds a private key; register the public half and keep this one to yourself.")
    kid = member.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID:
        raise ImproperFacility("Every key needs a name (kid).")
    if member.get("use", "sig") != "sig" or member.get("key_ops", ["verify"]) != ["verify"]:
        raise ImproperFacility("The keys must be for signatures.")
    kind = _kind_of(member)
    if member.get("alg") not in (None, *ALGORITHMS[kind]):
        raise ImproperFacility("A key names an algorithm that is not accepted for it.")
    kept = ("kid", "kty", *REQUIRED[cast("str", member["kty"])], "alg", "use")
    return {name: member[name] for name in kept if name in member}


def _kind_of(member: Mapping[str, Any]) -> str:
    """The curve, or RSA, after measuring the numbers."""
    if member["kty"] == "RSA":
        small, large = RSA_BYTES
        if not small <= _length(member.get("n")) <= large or not 0 < _length(member.get("e")) <= 4:  # noqa: PLR2004
            raise ImproperFacility("An RSA key has 2048 to 8192 bits.")
        return "RSA"
    curve = member.get("crv")
    length = CURVES.get(curve) if isinstance(curve, str) else None
    if length is None or {_length(member.get("x")), _length(member.get("y"))} != {length}:
        raise ImproperFacility("An EC key is on P-256 or P-384, with both coordinates in full length.")
    return cast("str", curve)


def _length(value: object) -> int:
    """Bytes of a base64url number; 0 for anything else."""
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value):
        return 0
    try:
        return len(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    except ValueError:
        return 0


def _thumbprint(key: Mapping[str, Any]) -> str:
    members = {name: key[name] for name in ("kty", *REQUIRED[key["kty"]])}
    digest = sha256(dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
