"""Responses that flow, and that can be cut (law 8).

A download is pieces handed to the server one by one, each only when the client has taken the one before, so memory
does not grow with the size of a study. It ends in one of four ways, and says so once:

    complete      every byte was handed to the network
    client-abort  the client went away
    revoked       what allowed the download is gone: the connection is reset, never ended cleanly
    error         a piece could not be read, or the gateway stopped

The gateway's own server (`gateway/serve.py`) puts a `Connection` into the ASGI scope; a reset through it also throws
away what still waits in this machine's buffers. Under another server a cut raises `StreamCut` out of the application,
which servers answer by closing without a terminal chunk.

No `BaseHTTPMiddleware` may stand around this: it turns an aborted body into a clean end. Pure ASGI only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import GatewayError, NotAvailable

CONNECTION: Final = "openpriors.connection"
"""The ASGI extension under which the server offers the `Connection` of a request."""
LARGEST_PIECE: Final = 1 << 20
"""Bytes handed over at once; a longer piece is sent in parts of this size."""
TURN_BYTES: Final = 1 << 18
"""Bytes after which the event loop gets its turn, even if the client takes everything at once."""
SETTLE_S: Final = 1.0
"""How long to wait, seconds, until the server has seen a connection end that was reset."""

Piece: TypeAlias = bytes | bytearray | memoryview
Outcome: TypeAlias = Literal["complete", "client-abort", "revoked", "error"]
_T = TypeVar("_T")
_log = structlog.get_logger()


class StreamCut(GatewayError):
    """The download was ended before it was complete."""


class Connection(Protocol):
    """The client's connection, as far as a response may touch it."""

    def abort(self) -> None:
        """Reset the connection at once and throw away what was not sent yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """How a response ended.

    Attributes
    ----------
    bytes_sent : body bytes handed to the network, without HTTP's own framing; never less than the client received
    reason : what `Cut.cut` was told, of a revoked stream
    """

    outcome: Outcome
    bytes_sent: int
    reason: str | None = None


class Cut:
    """Ends one response from outside, also while it waits for a client that reads nothing.

    A cut is final: the first reason stays, and a response that has not begun yet will not begin.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._break: Callable[[], None] | None = None

    def cut(self, reason: str) -> None:
        """End the response now. To be called in the thread of the response's event loop."""
        with self._lock:
            self.reason = self.reason or reason
            act = self._break
        if act is not None:
            act()

    def cut_from_thread(self, reason: str) -> None:
        """End the response now, from any thread."""
        with self._lock:
            self.reason = self.reason or reason
            loop, act = self._loop, self._break
        if loop is not None and act is not None:
            loop.call_soon_threadsafe(self.cut, reason)

    def arm(self, act: Callable[[], None]) -> None:
        """From now on a cut calls `act`; at once if the cut came before. Called by the response, in its loop."""
        with self._lock:
            self._loop, self._break = asyncio.get_running_loop(), act
            late = self.reason is not None
        if late:
            act()

    def disarm(self) -> None:
        """The response is over; a later cut has nothing to end."""
        with self._lock:
            self._loop = self._break = None


OnEnd: TypeAlias = Callable[[StreamEnd], Awaitable[None]]
Watch: TypeAlias = Callable[[Cut], AbstractContextManager[object]]


class StreamedResponse(Response):
    """A response whose body is pulled piece by piece.

    The first piece is pulled before the status line is sent: what `body` raises until then propagates and becomes an
    ordinary problem response. What it raises later resets the connection.

    Parameters
    ----------
    body : the pieces; a piece must not change after it was yielded. Closed in every case, also if never begun
    on_end : awaited exactly once, when nothing more will be sent; writes the durable outcome
    watch : opened around the whole response with its `Cut`, so that a revocation can find it
    headers : with `Content-Length` the body must have exactly that length

    Raises
    ------
    NotAvailable : the cut came before the first byte, so the answer is that of an absent study (law 4)
    StreamCut : the cut came later, under a server that offers no `Connection`
    """

    def __init__(
        self,
        body: AsyncIterator[Piece],
        *,
        on_end: OnEnd,
        watch: Watch | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self.pieces = body
        self.on_end = on_end
        self.watch: Watch = watch or _unwatched
        self.cut = Cut()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI 3, HTTP 2.3); see the class."""
        flow = _Flow(response=self, connection=scope.get("extensions", {}).get(CONNECTION))
        with self.watch(self.cut):
            error = await flow.run(receive, flow.pump(send, with_body=scope["method"] != "HEAD"))
        await _whatever_happens(self.on_end(flow.end()))
        if error is not None:
            raise error


class WholeResponse(Response):
    """A small response whose pieces have all been read and checked: handed over at once, so nothing is left to cut.

    What it holds stays far below the bytes that may still drain after a revocation (law 8).
    """

    def __init__(self, pieces: Sequence[Piece], *, on_end: OnEnd, headers: Mapping[str, str], media_type: str) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self._pieces = pieces
        self._on_end = on_end

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it (ASGI 3)."""
        sent = 0
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces if scope["method"] != "HEAD" else ():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += len(piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await _whatever_happens(self._on_end(StreamEnd(outcome="complete", bytes_sent=sent)))


class _Flow:
    """One response on its way."""

    def __init__(self, *, response: StreamedResponse, connection: Connection | None) -> None:
        self.response = response
        self.connection = connection
        self.started = False
        self.sent = 0
        self.cause: Outcome | None = None  # why the pump was stopped: the first cause counts
        self.task: asyncio.Task[None] | None = None

    async def run(self, receive: Receive, pump: Coroutine[Any, Any, None]) -> BaseException | None:
        """Pump until done, cut, or nobody is there; return what the server has to be told, if anything."""
        self.task = task = asyncio.create_task(pump)
        gone = asyncio.create_task(_until_gone(receive))
        gone.add_done_callback(self._nobody_there)
        self.response.cut.arm(self._cut)
        error: BaseException | None = None
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as stopped:  # the server is stopping, or gave this request up
            self._stop("error")
            error = stopped
        finally:
            error = await _whatever_happens(self._settle(task, gone)) or error
        return error

    async def pump(self, send: Send, *, with_body: bool) -> None:
        """Hand over status line, pieces and end."""
        pieces = self.response.pieces
        piece = await anext(pieces, None)
        self.started = True
        response = self.response
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        await send(start)
        turn = 0
        while with_body and piece is not None:
            for part in _parts(piece):
                await send({"type": "http.response.body", "body": part, "more_body": True})
                self.sent += len(part)
                turn += len(part)
                if turn >= TURN_BYTES:  # `send` need not wait, and then nobody else would learn of a lost client
                    turn = 0
                    await asyncio.sleep(0)
            piece = await anext(pieces, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def end(self) -> StreamEnd:
        """How it ended."""
        outcome = self.cause or "complete"
        reason = self.response.cut.reason if outcome == "revoked" else None
        return StreamEnd(outcome=outcome, bytes_sent=self.sent, reason=reason)

    def _cut(self) -> None:
        if self._stop("revoked"):
            self._reset()

    def _nobody_there(self, gone: asyncio.Task[None]) -> None:
        if not gone.cancelled():
            gone.exception()  # a server may also raise; either way nobody is there
            self._stop("client-abort")

    def _stop(self, cause: Outcome) -> bool:
        assert self.task is not None
        if self.cause is not None or self.task.done():
            return False
        self.cause = cause
        self.task.cancel()
        return True

    def _reset(self) -> None:
        if self.started and self.connection is not None:
            self.connection.abort()

    async def _settle(self, task: asyncio.Task[None], gone: asyncio.Task[None]) -> BaseException | None:
        """Wait for the pump's end, close the body, and decide what the server has to be told."""
        await asyncio.wait({task})
        self.response.cut.disarm()
        failure = self._failure(task)
        if self.cause in ("revoked", "error"):
            self._reset()
            if self.started and self.connection is not None:
                await asyncio.wait({gone}, timeout=SETTLE_S)
        gone.cancel()
        await asyncio.wait({gone})
        await self._close_body()
        return failure or self._refusal()

    def _failure(self, task: asyncio.Task[None]) -> BaseException | None:
        """What the pump died of, unless it was stopped; fixes the cause."""
        failure = None if task.cancelled() else task.exception()
        if failure is None and not task.cancelled():
            self.cause = None  # it was done before the stop arrived
        elif self.cause is None:
            self.cause = "error"
        elif self.cause == "client-abort" and self._all_sent():
            self.cause = None  # a client may close as soon as it has what Content-Length promised
        return failure if self.cause == "error" else None

    def _all_sent(self) -> bool:
        return self.started and self.response.headers.get("content-length") == str(self.sent)

    def _refusal(self) -> BaseException | None:
        if self.cause != "revoked":
            return None
        if not self.started:
            return NotAvailable()
        return None if self.connection is not None else StreamCut()

    async def _close_body(self) -> None:
        close = getattr(self.response.pieces, "aclose", None)
        if close is None:
            return
        try:
            await close()
        except Exception as error:  # noqa: BLE001 - the end must be reported whatever the source does when it is closed
            _log.warning("stream.close-failed", error=type(error).__name__)


def _parts(piece: Piece) -> Iterator[Piece]:
    """The piece, or what it is made of, in parts the transport can take at once."""
    if len(piece) <= LARGEST_PIECE:
        if len(piece):
            yield piece
        return
    view = memoryview(piece)
    for begin in range(0, len(view), LARGEST_PIECE):
        yield view[begin : begin + LARGEST_PIECE]


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whatever_happens(step: Awaitable[_T]) -> _T:
    """The result of `step`, which is carried through even if this task is cancelled: what remains is short."""
    task = asyncio.ensure_future(step)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


def _unwatched(_cut: Cut) -> AbstractContextManager[None]:
    return nullcontext()
