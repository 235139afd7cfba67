"""What a request shows to say who asks: exactly one credential, and never one in the address (RFC 6750 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gateway.auth.errors import NotAuthenticated, Reason

_BEARER: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_TOKEN_NAME: Final = b"access_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The one credential of a request: an access token, the value of a session cookie, or neither."""

    token: str | None = None
    session: str | None = None


NOTHING: Final = Credentials()


def read_credentials(scope: Mapping[str, Any], cookie_name: str) -> Credentials:
    """The credential of an HTTP request, given as its ASGI scope.

    Raises
    ------
    NotAuthenticated : a token in the address, several credentials, or a scheme that is not Bearer
    """
    if scope["query_string"] and _names_token(scope["query_string"]):
        raise NotAuthenticated(Reason.IN_QUERY)
    authorizations: list[bytes] = []
    cookies: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorizations.append(value)
        elif name == b"cookie":
            cookies += _cookies(value, cookie_name.encode())
    if len(authorizations) + len(cookies) > 1:
        raise NotAuthenticated(Reason.SEVERAL)
    if authorizations:
        return Credentials(token=_bearer(authorizations[0]))
    return Credentials(session=cookies[0].decode("latin-1")) if cookies else NOTHING


def _bearer(value: bytes) -> str:
    found = _BEARER.fullmatch(value)
    if found is None:
        raise NotAuthenticated(Reason.SCHEME)
    return found[1].decode()


def _cookies(header: bytes, name: bytes) -> list[bytes]:
    """The values of the cookies of this name, with the empty ones: two of a name is a trick (RFC 6265 5.4)."""
    pairs = (pair.strip().partition(b"=") for pair in header.split(b";"))
    return [value for found, _, value in pairs if found == name]


def _names_token(query: bytes) -> bool:
    if b"%" not in query and _TOKEN_NAME not in query.lower():
        return False
    names = (pair.partition(b"=")[0] for pair in re.split(rb"[&;]", query))
    return any(unquote_to_bytes(name).strip().lower() == _TOKEN_NAME for name in names)
