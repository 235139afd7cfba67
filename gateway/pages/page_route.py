"""What goes wrong behind a page becomes a page: a sentence that somebody can act on, never a trace."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from consent.errors import ConsentError
from gateway.auth.errors import AuthError, NotAuthenticated, Reason
from gateway.errors import GatewayError, NotAvailable
from gateway.pages.rendering import Pages
from gateway.problems import RETRY_AFTER_S, STATUS, TITLES, UNFORESEEN, status_of
from storage.errors import NotDurable, StorageError

AWAY: Final = "The database does not answer at present, so nothing was shown or changed; try again in a moment."
OURS: Final = (GatewayError, ConsentError, StorageError, AuthError)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_log = structlog.get_logger()


def page_route(pages: Pages) -> type[APIRoute]:
    """The kind of route that the staff pages are made of."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handler = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    return await handler(request)
                except NotAuthenticated as refusal:
                    return pages.onwards("/sign-in", "" if refusal.reason is Reason.NONE_SHOWN else "rested")
                except Exception as error:  # noqa: BLE001 - whatever it is, staff get a page
                    return _error_page(pages, request, _told(error, request))

            return answer

    return PageRoute


def _told(error: Exception, request: Request) -> Exception:
    """The error as staff are told of it. Only its kind and place are logged: a database's words hold what was asked."""
    if isinstance(error, RequestValidationError):
        return NotAvailable()
    if isinstance(error, OURS) and status_of(error) != STATUS[StorageError]:
        return error
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    _log.error("page.failed", request=request.state.request_id, error=type(error).__name__, at=frames[-8:])
    return NotDurable(AWAY) if isinstance(error, SQLAlchemyError) else GatewayError(UNFORESEEN)


def _error_page(pages: Pages, request: Request, error: Exception) -> Response:
    status = status_of(error)
    page = pages.page(
        "error.html",
        getattr(request.state, "staff", None),
        status=status,
        title=TITLES.get(status, "Error"),
        sentence=str(error),
        request_id=request.state.request_id,
    )
    if status == STATUS[NotDurable]:
        page.headers["Retry-After"] = RETRY_AFTER_S
    return page
