"""What every request carries from its first moment: an id, and when it began.

Pure ASGI, so that an aborted stream stays one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from itertools import count

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestContext:
    """Gives each request its id, which its answer, its log lines and its audit records share."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # random once, then counted: an id must be unlike every other, not hard to guess
        self._process, self._numbers = secrets.token_hex(8), count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on with `request_id` and `began` in its state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{self._process}-{next(self._numbers):x}"
        scope.setdefault("state", {}).update(request_id=request_id, began=time.monotonic())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class ByPath:
    """Hands a request to the application of its path's beginning; everything else, the lifespan too, to the first."""

    def __init__(self, first: ASGIApp, others: Mapping[str, ASGIApp]) -> None:
        self._first = first
        self._others = tuple(others.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        path = scope.get("path", "")
        chosen = next((app for start, app in self._others if path.startswith(start)), self._first)
        await chosen(scope, receive, send)
