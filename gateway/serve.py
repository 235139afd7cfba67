"""The server: one process, one event loop, and connections that can neither stall it nor outlive a revocation.

uvicorn speaks HTTP/1.1 (httptools, uvloop). What it leaves open is closed here: how long and how large a request's
head may be, how long a body or a client may stall, how many connections there are, and how a response resets its own
connection (`gateway/streaming.py`). Measured against granian with the same application: ARCHITECTURE.md.

There is no supervising parent: a SIGKILL leaves nothing behind. SIGTERM and SIGINT let running downloads finish, at
most `Limits.finish_s`; a second one ends them. Several workers on one port: one `run` each, with `shared_port=True`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.streaming import CONNECTION

SEND_BUFFER_BYTES: Final = 128 << 10
"""What the kernel may hold of one response (SO_SNDBUF; Linux doubles it).

Small, because a receiver's own buffer, which no reset reaches, grows with what is under way. Paused after a fast start,
a receiver with 32 MiB allowed held 2.6 MiB (median; 4 of 62 above 16, worst 17); with the kernel's own choice 12 of 42
held more than 16, worst 31. One connection carries about 256 KiB a round trip: plenty towards a proxy nearby.
"""
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close with RST, drop what was not sent
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may take of the server."""

    head_bytes: int = 64 << 10  # request line and header fields; also trailers
    head_s: float = 15.0  # from the connection, or the first byte of a later request, to the end of the head
    body_stall_s: float = 60.0  # without a byte of a request body that is being waited for
    send_stall_s: float = 120.0  # without a byte taken of a response that is being sent
    keep_alive_s: int = 20  # idle between two requests
    connections: int = 1000
    finish_s: float = 60.0  # for running responses, when the server is told to stop
    look_s: float = 5.0  # how often the deadlines are looked at


class HeadTooLarge(ValueError):
    """The head of the request is larger than this server reads."""


class ClientConnection:
    """One client's connection as a response may touch it (`gateway.streaming.Connection`)."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def abort(self) -> None:
        """Reset the connection; nothing that waits in this machine's buffers leaves it any more."""
        if self._transport.is_closing():
            return
        with suppress(OSError):  # the peer may have closed it already
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with deadlines and sizes for what a client sends, and the connection offered to the response."""

    limits: ClassVar[Limits] = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected; its head is due."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._in_head = True  # what is being received: a head, or what follows one
        self._awaiting_head = True  # whether the client owes us a head
        self._awaiting_body = False
        self._head_bytes = 0
        self._silent_bytes = 0  # received since anything came of it
        self._came_of_it = False
        self._unsent = 0
        self._moved = self._sent_moved = self.loop.time()
        self._look = self.loop.call_later(self.limits.look_s, self._check_deadlines)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        super().connection_lost(exc)
        if hasattr(self, "_look"):
            self._look.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if not self._awaiting_head and not self._awaiting_body and (self.cycle is None or self.cycle.response_complete):
            self._awaiting_head, self._moved = True, self.loop.time()
        self._came_of_it = False
        super().data_received(data)
        self._silent_bytes = 0 if self._came_of_it else self._silent_bytes + len(data)
        if self._silent_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self.send_400_response(str(HeadTooLarge.__doc__))

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read; never into the middle of a response that is being sent."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            ClientConnection(self.transport).abort()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {CONNECTION: ClientConnection(self.transport)}
        self._in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field. Trailers are dropped: nothing after the body may change what was already decided."""
        self._count(len(name) + len(value))
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = self._awaiting_head = False
        self._awaiting_body = True
        self._came_of_it, self._moved, self._head_bytes = True, self.loop.time(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of the request body."""
        self._came_of_it, self._moved = True, self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._came_of_it, self._awaiting_body = True, False
        super().on_message_complete()

    def resume_writing(self) -> None:
        """The client took what was waiting for it."""
        self._sent_moved = self.loop.time()
        super().resume_writing()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.head_bytes:
            raise HeadTooLarge

    def _check_deadlines(self) -> None:
        if self.transport.is_closing():
            return
        late = self._late(self.loop.time())
        if late is not None:
            _log.info("connection.late", what=late)
            ClientConnection(self.transport).abort()
            return
        self._look = self.loop.call_later(self.limits.look_s, self._check_deadlines)

    def _late(self, now: float) -> str | None:
        """What the client failed to do in time, if anything."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or unsent == 0:
            self._unsent, self._sent_moved = unsent, now
        if now - self._sent_moved > self.limits.send_stall_s:
            return "taking the response"
        if self.flow.read_paused:  # we are the ones who do not read
            self._moved = now
        if self._awaiting_head and now - self._moved > self.limits.head_s:
            return "sending the head"
        if self._awaiting_body and now - self._moved > self.limits.body_stall_s:
            return "sending the body"
        return None


class _Server(uvicorn.Server):
    """uvicorn that stops by our rules and returns, instead of dying of the signal it was sent."""

    def __init__(self, config: uvicorn.Config, *, finish_s: float, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._finish_s = finish_s
        self._on_ready = on_ready
        self._hurry = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept."""
        await super().startup(sockets)
        if self._on_ready is not None and self.started:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; at the second one without waiting for downloads."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Stop taking connections and let responses finish; called again, end them."""
        if self.should_exit:
            self._hurry.set()
        self.should_exit = True

    async def stop_when(self, event: asyncio.Event) -> None:
        """Stop as soon as `event` is set."""
        await event.wait()
        self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what runs, but not longer than agreed; the application is told when nothing runs any more."""
        ender = asyncio.create_task(self._end_what_runs())
        try:
            await super().shutdown(sockets)
        finally:
            ender.cancel()

    async def _end_what_runs(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._finish_s)
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                ClientConnection(transport).abort()


def listen(
    host: str,
    port: int,
    *,
    shared_port: bool = False,
    send_buffer_bytes: int = SEND_BUFFER_BYTES,
    backlog: int = 2048,
) -> socket.socket:
    """A listening socket, whose connections hold little that was not received yet.

    Parameters
    ----------
    port : 0 takes a free one
    shared_port : let further processes listen on the same port (SO_REUSEPORT); the kernel spreads the connections
    send_buffer_bytes : SO_SNDBUF, which every connection inherits; 0 leaves it to the kernel

    Raises
    ------
    OSError : the address is in use or not ours
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if send_buffer_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    limits: Limits | None = None,
    trusted_proxy: str | None = None,
    on_ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve `app` on `listener` until SIGTERM or SIGINT. Returns when everything has ended and the lifespan is over.

    Parameters
    ----------
    trusted_proxy : address whose X-Forwarded-For and X-Forwarded-Proto are believed; None believes nobody's
    on_ready : called when connections are accepted
    stop : when set, does what SIGTERM does

    Raises
    ------
    SystemExit : the application failed to start
    """
    limits = limits or Limits()
    server = _Server(_configuration(app, limits, trusted_proxy), finish_s=limits.finish_s, on_ready=on_ready)
    stopping = asyncio.create_task(server.stop_when(stop)) if stop is not None else None
    try:
        await server.serve(sockets=[listener])
    finally:
        if stopping is not None:
            stopping.cancel()


def run(app: ASGIApp, *, host: str, port: int, shared_port: bool = False, **options: Any) -> None:
    """Listen and `serve` on an event loop of its own (uvloop), in this process; `options` are those of `serve`."""
    with listen(host, port, shared_port=shared_port) as listener:
        uvloop.run(serve(app, listener, **options))


def _configuration(app: ASGIApp, limits: Limits, trusted_proxy: str | None) -> uvicorn.Config:
    protocol = type("Protocol", (GuardedProtocol,), {"limits": limits})
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="none",  # the loop runs already
        lifespan="on",
        log_config=None,
        access_log=False,  # URLs hold QIDO keys (law 11)
        proxy_headers=trusted_proxy is not None,
        forwarded_allow_ips=trusted_proxy or "",
        server_header=False,
        timeout_keep_alive=limits.keep_alive_s,
    )
