"""Compact JWS read strictly (RFC 7515, RFC 8725): what a JOSE library would let pass is refused here first.

Nothing in a token chooses how it is checked: the algorithm must be one that the chosen key was registered for, `crit`
and unencoded payloads are refused, and keys or addresses in the header are never used.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from gateway.auth.errors import Reason

TOKEN_LIMIT: Final = 16 * 1024  # characters, looked at before anything is decoded
TEXT_LIMIT: Final = 512  # characters of any one text that is used
LATEST_S: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class Unreadable(Exception):
    """The token is not what it should be."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """A token that could be read; nobody has checked its signature yet."""

    token: str
    header: Mapping[str, object]
    claims: Mapping[str, object]

    @property
    def algorithm(self) -> str:
        """The header's `alg`."""
        return str(self.header["alg"])


class _Registry(jws.JWSRegistry):
    max_header_length = TOKEN_LIMIT  # the whole token is bounded already
    max_payload_length = TOKEN_LIMIT


def read(token: str, *, types: frozenset[str], algorithms: frozenset[str]) -> Unproven:
    """Take a compact JWS of JSON claims apart.

    `types` are the values of `typ` that are let through, in lower case and without `application/`; the empty text
    stands for a header without `typ`.

    Raises
    ------
    Unreadable : too large, malformed, of another type, or with an algorithm or header that is not accepted
    """
    if len(token) > TOKEN_LIMIT:
        raise Unreadable(Reason.TOO_LARGE)
    parts = _FORM.fullmatch(token)
    if parts is None:
        raise Unreadable(Reason.MALFORMED)
    header, claims = (parse_object(_decode(part)) for part in parts.groups()[:2])
    _decode(parts[3])
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Unreadable(Reason.ALGORITHM)
    if "crit" in header or "b64" in header:
        raise Unreadable(Reason.CRITICAL_HEADER)
    if _type_of(header) not in types:
        raise Unreadable(Reason.TYPE)
    return Unproven(token=token, header=header, claims=claims)


def prove(unproven: Unproven, key: Key, algorithm: str) -> None:
    """Check the signature with a key that is ours or registered.

    Raises
    ------
    Unreadable : the signature is not that key's
    """
    registry = _Registry(algorithms=[algorithm], strict_check_header=False)
    try:
        signature = jws.extract_compact(unproven.token.encode(), registry=registry)
        proven = jws.validate_compact(signature, key, registry=registry)
    except (JoseError, ValueError, TypeError) as error:
        raise Unreadable(Reason.SIGNATURE) from error
    if not proven:
        raise Unreadable(Reason.SIGNATURE)


def parse_object(data: bytes) -> dict[str, object]:
    """A JSON object with unique member names, finite numbers and text that is real Unicode.

    Raises
    ------
    Unreadable : it is anything else
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        if isinstance(value, dict) and b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # an escaped half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Unreadable(Reason.MALFORMED) from error
    if not isinstance(value, dict):
        raise Unreadable(Reason.MALFORMED)
    return value


def text(values: Mapping[str, object], name: str, *, limit: int = TEXT_LIMIT) -> str | None:
    """A member that is text of 1 to `limit` printable characters, or None where it is absent.

    Raises
    ------
    Unreadable : it is there and is something else
    """
    value = values.get(name)
    if value is None and name not in values:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
        raise Unreadable(Reason.CLAIMS)
    return value


def instant(values: Mapping[str, object], name: str) -> int | None:
    """A NumericDate (RFC 7519 2) as microseconds since the epoch, or None where it is absent.

    Raises
    ------
    Unreadable : it is there and is no moment between 1970 and 9999
    """
    value = values.get(name)
    if value is None and name not in values:
        return None
    # compared as it is: a very large integer has no float, and NaN is in no range
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST_S:
        raise Unreadable(Reason.CLAIMS)
    return round(value * 1_000_000)


def _type_of(header: Mapping[str, object]) -> str:
    if "typ" not in header:
        return ""
    value = header["typ"]
    if not isinstance(value, str) or not value:
        raise Unreadable(Reason.TYPE)
    return value.lower().removeprefix("application/")


def _decode(part: str) -> bytes:
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise Unreadable(Reason.MALFORMED) from error
    if urlsafe_b64encode(data).rstrip(b"=") != part.encode():  # spare bits: a second spelling of the same token
        raise Unreadable(Reason.MALFORMED)
    return data


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


def _refuse(name: str) -> object:
    raise ValueError(name)
