"""Our errors as HTTP: the only table of failure statuses (RFC 9457 problem details).

The body says what the error's own sentence says, which holds no patient data; what we did not foresee is one fixed
sentence and a log line.
"""

from __future__ import annotations

from typing import Final

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from consent.errors import (
    ChangedMeanwhile,
    ConsentError,
    NotInThatState,
    SecondPersonNeeded,
    UnknownConsent,
    UnknownFacility,
    UnknownForm,
    UnknownPatient,
)
from gateway.auth.errors import (
    AuthError,
    ForgedRequest,
    SignInBusy,
    SignInRefused,
    StaffExists,
    StaffRefused,
    UnknownStaff,
)
from gateway.beat import until_beat
from gateway.errors import (
    BadRequest,
    GatewayError,
    NoSuchFrame,
    NotAcceptable,
    NotAllowed,
    NotAvailable,
    PartHidden,
    TooMuch,
)
from storage.errors import (
    ArchiveAway,
    BadQuery,
    Guaranteed,
    InstanceConflict,
    NotDurable,
    ObjectCorrupt,
    ObjectMissing,
    ReadOnly,
    StorageError,
    StoreFull,
)
from storage.unusable import UnusableInstance

STATUS: Final[dict[type[Exception], int]] = {
    BadRequest: 400,
    BadQuery: 400,
    UnusableInstance: 400,
    AuthError: 401,
    StaffRefused: 400,
    ForgedRequest: 403,
    SignInRefused: 403,
    UnknownStaff: 404,
    StaffExists: 409,
    SignInBusy: 503,
    NotAllowed: 403,
    PartHidden: 403,
    NotAvailable: 404,
    NoSuchFrame: 404,
    UnknownConsent: 404,
    UnknownFacility: 404,
    UnknownPatient: 404,
    UnknownForm: 404,
    NotAcceptable: 406,
    ChangedMeanwhile: 409,
    SecondPersonNeeded: 409,
    NotInThatState: 409,
    InstanceConflict: 409,
    Guaranteed: 409,
    TooMuch: 413,
    ConsentError: 400,
    NotDurable: 503,
    ObjectMissing: 503,
    ObjectCorrupt: 503,
    ArchiveAway: 503,
    ReadOnly: 503,
    StoreFull: 503,
    StorageError: 500,
    GatewayError: 500,
}
TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "Conflict",
    413: "Too much",
    500: "Internal error",
    503: "Unavailable",
}
CHALLENGE: Final = "WWW-Authenticate"
UNFORESEEN: Final = (
    "The gateway met an error that it did not foresee; the operators can find it under this request's id."
)
NO_ROUTE: Final = "There is nothing under this address."
RETRY_AFTER_S: Final = "5"
_log = structlog.get_logger()


def status_of(error: Exception) -> int:
    """The status of an error: that of the nearest ancestor in the table."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    """A problem document (RFC 9457)."""
    body = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status, "detail": detail}
    fixed = {"Cache-Control": "no-store", "Vary": "Authorization, Accept", "X-Content-Type-Options": "nosniff"}
    return JSONResponse(
        body, status_code=status, media_type="application/problem+json", headers={**fixed, **(headers or {})}
    )


def install(app: Starlette, *, beat_s: float, challenge: str) -> None:
    """Answer every error of `app` from the table. `challenge` is the WWW-Authenticate value of a 401 (RFC 6750 3)."""

    async def known(request: Request, error: Exception) -> Response:
        status = status_of(error)
        headers = {}
        if status == STATUS[AuthError]:
            headers[CHALLENGE] = challenge
        if status == STATUS[NotDurable]:
            headers["Retry-After"] = RETRY_AFTER_S
        if status in (STATUS[AuthError], STATUS[NotAvailable], STATUS[PartHidden]):
            await until_beat(request.state.began, beat_s)
        return problem(status, str(error), headers=headers)

    async def unforeseen(request: Request, error: Exception) -> Response:
        _log.error("request.failed", request=request.state.request_id, error=type(error).__name__, exc_info=error)
        return problem(500, UNFORESEEN)

    async def invalid(_request: Request, _error: Exception) -> Response:
        return problem(STATUS[BadRequest], str(BadRequest()))

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        await until_beat(request.state.began, beat_s)
        return problem(error.status_code, NO_ROUTE, headers=dict(error.headers or {}))

    for kind in (GatewayError, ConsentError, StorageError, AuthError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, routing)
    app.add_exception_handler(Exception, unforeseen)
