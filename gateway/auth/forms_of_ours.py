"""A form counts only when it comes from our own page: the session's own token, and what the browser says of its origin.

SameSite=Strict alone does not hold against a page on another port or subdomain of the same site.
"""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from gateway.auth.errors import ForgedRequest
from gateway.auth.session import Session

FIELD: Final = "csrf"
HEADER: Final = "X-CSRF-Token"


def check_origin(headers: Headers, public_url: str) -> None:
    """Refuse what a browser says comes from elsewhere; the sign-in form, which has no session yet, is checked by this.

    Sec-Fetch-Site decides where it is sent (Fetch Metadata), else Origin (RFC 6454 7).

    Raises
    ------
    ForgedRequest : another site, another origin, or an origin that is hidden
    """
    site = headers.getlist("Sec-Fetch-Site")
    origins = headers.getlist("Origin")
    if site and site != ["same-origin"]:
        raise ForgedRequest
    if not site and origins and origins != [_origin(public_url)]:
        raise ForgedRequest


def check_form(session: Session, headers: Headers, token: str | None, public_url: str) -> None:
    """Refuse a form that does not carry its session's token, or comes from elsewhere.

    `token` is the form's field `csrf` or the header `X-CSRF-Token`. Raises ForgedRequest.
    """
    check_origin(headers, public_url)
    if token is None or not hmac.compare_digest(token.encode("utf-8", "replace"), session.csrf.encode()):
        raise ForgedRequest


def _origin(public_url: str) -> str:
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc}"
