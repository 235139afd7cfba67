"""Refusals of the authorization server as HTTP (RFC 6749 5.2): the only failure statuses outside `problems.py`."""

from __future__ import annotations

from typing import Final

from fastapi.responses import JSONResponse, Response

from gateway.auth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    OAuthRefused,
    TemporarilyUnavailable,
    UnsupportedGrantType,
)

ANSWERS: Final[dict[type[OAuthRefused], tuple[int, str]]] = {
    InvalidRequest: (400, "invalid_request"),
    InvalidClient: (401, "invalid_client"),
    InvalidGrant: (400, "invalid_grant"),
    InvalidScope: (400, "invalid_scope"),
    UnsupportedGrantType: (400, "unsupported_grant_type"),
    TemporarilyUnavailable: (503, "temporarily_unavailable"),
}
NEVER_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff"}
RETRY_AFTER_S: Final = "5"


def answer(refusal: OAuthRefused, challenge: str) -> Response:
    """The error response of a refusal; `challenge` is the WWW-Authenticate value of a 401."""
    status, code = ANSWERS[type(refusal)]
    headers = dict(NEVER_STORED)
    if isinstance(refusal, InvalidClient):
        headers["WWW-Authenticate"] = challenge
    if isinstance(refusal, TemporarilyUnavailable):
        headers["Retry-After"] = RETRY_AFTER_S
    return JSONResponse({"error": code, "error_description": str(refusal)}, status_code=status, headers=headers)
