"""Downloads on real sockets: they flow with the client, they can be cut, and they say honestly how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.errors import GatewayError, NotAvailable, TooMuch
from gateway.serve import Limits, listen, serve
from gateway.streaming import Cut, Piece, StreamedResponse, StreamEnd

MIB = 1 << 20
PIECE = bytes(range(256)) * 2048  # 512 KiB
DRAIN_LIMIT = 16 * MIB
PATIENCE_S = 20.0
FAST = Limits(look_s=0.05, head_s=0.5, send_stall_s=60.0, finish_s=0.5)


@dataclass
class Stage:
    """The application under test and what became of its streams."""

    port: int = 0
    cuts: dict[str, Cut] = field(default_factory=dict)
    ends: dict[str, list[StreamEnd]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    stop: Callable[[], None] = lambda: None

    async def body(self, name: str, how: str, count: int) -> AsyncIterator[Piece]:
        try:
            if how == "refused":
                raise TooMuch
            if how == "waits":
                await asyncio.sleep(PATIENCE_S)
            for number in range(count):
                if how == "breaks" and number == 20:
                    raise OSError("the disk is gone")
                yield b"part header\r\n"
                yield memoryview(PIECE)
            if how == "one-big":
                yield bytes(5 * MIB)
            if how == "lingers":
                await asyncio.sleep(0.3)
            if how == "stubborn":
                await self.stubbornly()
        finally:
            self.closed.add(name)

    @staticmethod
    async def stubbornly() -> None:
        """Wait for more, and take a second to stop when told to."""
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            await asyncio.sleep(1)

    async def download(self, request: Request) -> Response:
        query = request.query_params
        name, how, count = query["name"], query.get("how", ""), int(query.get("pieces", 4096))

        @contextlib.contextmanager
        def watch(cut: Cut) -> Iterator[None]:
            self.cuts[name] = cut
            if how == "cut-before":
                cut.cut("consent revoked")
            yield

        async def on_end(end: StreamEnd) -> None:
            await asyncio.sleep(0.01)  # the outcome is written durably, which takes a moment
            self.ends.setdefault(name, []).append(end)

        length = {"Content-Length": str(count * (len(PIECE) + 13))} if "exact" in query else {}
        body = self.body(name, how, count)
        return StreamedResponse(body, on_end=on_end, watch=watch, headers=length, media_type="multipart/related")

    def application(self) -> Starlette:
        async def refused(_request: Request, error: Exception) -> Response:
            return PlainTextResponse(str(error), status_code=404 if isinstance(error, NotAvailable) else 413)

        async def hello(request: Request) -> Response:
            return PlainTextResponse(",".join(name for name, _ in request.headers.items()) + "|" + repr(request.client))

        async def received(request: Request) -> Response:
            body = await request.body()
            return PlainTextResponse(f"{len(body)} {sorted(request.headers)}")

        routes = [
            Route("/download", self.download),
            Route("/hello", hello),
            Route("/received", received, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={GatewayError: refused})

    def the_end(self, name: str) -> StreamEnd:
        """How a stream ended, said exactly once."""
        wait_until(lambda: self.ends.get(name))
        time.sleep(0.05)  # a second report would come now
        assert len(self.ends[name]) == 1
        assert name in self.closed
        return self.ends[name][0]


@contextlib.contextmanager
def staged(limits: Limits, **options: object) -> Iterator[Stage]:
    stage, ready = Stage(), threading.Event()
    listener = listen("127.0.0.1", 0)
    stage.port = listener.getsockname()[1]

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stage.stop = lambda: loop.call_soon_threadsafe(stop.set)  # type: ignore[assignment]
        app = stage.application()
        await serve(app, listener, limits=limits, on_ready=ready.set, stop=stop, **options)  # type: ignore[arg-type]

    thread = threading.Thread(target=lambda: uvloop.run(main()))
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield stage
    finally:
        with contextlib.suppress(RuntimeError):  # it was stopped by the test, and its loop is closed already
            stage.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(Limits(look_s=0.05, finish_s=0.2)) as running:
        yield running


def wait_until(true: Callable[[], object]) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < PATIENCE_S, "waited in vain"
        time.sleep(0.01)


class Client:
    """A client that reads as slowly as it is told."""

    def __init__(
        self, port: int, path: str, *, method: str = "GET", small_buffer: bool = True, keep: bool = False
    ) -> None:
        self.socket = socket.socket()
        if small_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        keeping = "keep-alive" if keep else "close"
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: {keeping}\r\n\r\n".encode())
        self.count, self.tail, self.over = 0, b"", ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self, size: int) -> None:
        goal = self.count + size
        while self.count < goal and not self.over:
            try:
                data = self.socket.recv(min(goal - self.count, 1 << 18))
            except ConnectionResetError:
                self.over = "reset"
                return
            self.over = "" if data else "closed"
            self.count += len(data)
            self.tail = (self.tail + data)[-16:]

    def read_to_the_end(self) -> None:
        self.read(1 << 50)

    @property
    def ended_cleanly(self) -> bool:
        return self.tail.endswith(b"0\r\n\r\n")


def started(stage: Stage, name: str, query: str = "", **options: bool) -> Client:
    client = Client(stage.port, f"/download?name={name}{query}", **options)
    client.read(8 * MIB)
    assert client.count == 8 * MIB
    return client


def test_a_whole_download_is_complete_and_counted(stage: Stage) -> None:
    with Client(stage.port, "/download?name=whole&pieces=40") as client:
        client.read_to_the_end()
    assert client.ended_cleanly
    end = stage.the_end("whole")
    assert end == StreamEnd(outcome="complete", bytes_sent=40 * (len(PIECE) + 13))


def test_a_long_piece_is_sent_in_parts_and_arrives_whole(stage: Stage) -> None:
    with Client(stage.port, "/download?name=big&pieces=1&how=one-big") as client:
        client.read_to_the_end()
    assert client.ended_cleanly
    assert client.count > len(PIECE) + 5 * MIB
    assert stage.the_end("big").bytes_sent == len(PIECE) + 13 + 5 * MIB


@pytest.mark.parametrize("how", ["", "lingers"])
def test_a_client_that_closes_after_the_promised_length_had_everything(stage: Stage, how: str) -> None:
    size = 40 * (len(PIECE) + 13)
    with Client(stage.port, f"/download?name=exact{how}&pieces=40&exact=1&how={how}", small_buffer=False) as client:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.socket.recv(1)
        client.read(size)
    assert stage.the_end(f"exact{how}") == StreamEnd(outcome="complete", bytes_sent=size)


def test_a_client_that_reads_nothing_holds_the_stream_back(stage: Stage) -> None:
    with started(stage, "held") as client:
        time.sleep(0.5)  # unheld, all 2 GiB would be handed over in this time
        assert "held" not in stage.ends
        stage.cuts["held"].cut_from_thread("enough")
        client.read_to_the_end()
    assert stage.the_end("held").bytes_sent <= client.count + DRAIN_LIMIT


@pytest.mark.parametrize("exact", ["", "&exact=1"])
def test_a_revoked_download_of_a_paused_client_is_reset(stage: Stage, exact: str) -> None:
    name = f"paused{len(exact)}"
    with started(stage, name, exact) as client:
        time.sleep(0.3)  # the buffers fill; `send` blocks
        before = client.count
        stage.cuts[name].cut_from_thread("consent revoked")
        end = stage.the_end(name)
        client.read_to_the_end()
    assert end.outcome == "revoked"
    assert end.reason == "consent revoked"
    assert client.over == "reset"
    assert not client.ended_cleanly
    assert client.count - before < len(PIECE) // 2  # what its own socket held; what waited here never left
    framing = 4096 + 32 * (end.bytes_sent // len(PIECE) + 1)
    assert client.count - framing <= end.bytes_sent <= client.count + DRAIN_LIMIT


def test_a_revoked_download_of_a_slow_client_is_reset(stage: Stage) -> None:
    with started(stage, "slow") as client:
        for _ in range(20):
            client.read(64 << 10)
            time.sleep(0.005)
        before = client.count
        stage.cuts["slow"].cut_from_thread("consent revoked")
        while not client.over:
            client.read(64 << 10)
            time.sleep(0.005)
        assert stage.the_end("slow").outcome == "revoked"
    assert client.over == "reset"
    assert client.count - before <= DRAIN_LIMIT


def test_a_source_that_is_slow_to_stop_does_not_delay_the_reset(stage: Stage) -> None:
    with started(stage, "stubborn", "&pieces=17&how=stubborn") as client:
        time.sleep(0.2)
        before = client.count
        stage.cuts["stubborn"].cut_from_thread("consent revoked")
        time.sleep(0.2)
        client.read_to_the_end()
        assert client.over == "reset"
        assert client.count - before < len(PIECE) // 2
    assert stage.the_end("stubborn").outcome == "revoked"


def test_a_revocation_while_the_first_piece_is_awaited_is_told_like_an_absent_study(stage: Stage) -> None:
    with Client(stage.port, "/download?name=waits&how=waits") as client:
        wait_until(lambda: "waits" in stage.cuts)
        time.sleep(0.05)
        stage.cuts["waits"].cut_from_thread("consent revoked")
        client.read(len("HTTP/1.1 404"))
        assert client.tail.endswith(b"404")
    assert stage.the_end("waits") == StreamEnd(outcome="revoked", bytes_sent=0, reason="consent revoked")


def test_a_revocation_before_the_body_is_touched_sends_nothing(stage: Stage) -> None:
    with Client(stage.port, "/download?name=early&how=cut-before") as client:
        client.read(len("HTTP/1.1 404"))
        assert client.tail.endswith(b"404")
    wait_until(lambda: stage.ends.get("early"))
    assert stage.ends["early"] == [StreamEnd(outcome="revoked", bytes_sent=0, reason="consent revoked")]


@pytest.mark.parametrize("paused", [True, False])
def test_a_client_that_leaves_is_recorded_with_what_it_may_have_received(stage: Stage, paused: bool) -> None:
    name = f"leaves{paused}"
    with started(stage, name, "&pieces=1000000", small_buffer=paused) as client:
        if paused:
            time.sleep(0.2)
    end = stage.the_end(name)
    assert end.outcome == "client-abort"
    assert 8 * MIB - 8192 <= end.bytes_sent <= client.count + 48 * MIB  # what two kernels hold, at most


def test_an_error_before_the_first_piece_is_an_ordinary_answer(stage: Stage) -> None:
    with Client(stage.port, "/download?name=refused&how=refused") as client:
        client.read(len("HTTP/1.1 413"))
        assert client.tail.endswith(b"413")
    assert stage.the_end("refused") == StreamEnd(outcome="error", bytes_sent=0)


def test_an_error_in_the_middle_never_looks_like_an_end(stage: Stage) -> None:
    with Client(stage.port, "/download?name=breaks&how=breaks") as client:
        client.read_to_the_end()
    assert not client.ended_cleanly
    assert client.over == "reset"
    end = stage.the_end("breaks")
    assert end == StreamEnd(outcome="error", bytes_sent=20 * (len(PIECE) + 13))


def test_a_body_shorter_than_promised_never_looks_whole(stage: Stage) -> None:
    with Client(stage.port, "/download?name=short&how=breaks&exact=1&pieces=40") as client:
        client.read_to_the_end()
    assert client.over == "reset"
    assert stage.the_end("short").outcome == "error"


def test_head_answers_with_headers_alone(stage: Stage) -> None:
    with Client(stage.port, "/download?name=head&exact=1&pieces=40", method="HEAD") as client:
        client.read_to_the_end()
        assert client.tail.endswith(b"\r\n\r\n")
        assert client.count < 1024
    assert stage.the_end("head") == StreamEnd(outcome="complete", bytes_sent=0)


def test_after_a_complete_download_the_connection_serves_the_next_request(stage: Stage) -> None:
    with Client(stage.port, "/download?name=first&pieces=2", keep=True) as client:
        client.read(2 * len(PIECE))
        while not client.ended_cleanly:
            client.read(1)
        client.socket.sendall(b"GET /hello HTTP/1.1\r\nHost: gateway\r\n\r\n")
        client.read(len("HTTP/1.1 200"))
        assert client.tail.endswith(b"200")


def test_a_stop_lets_a_download_finish_but_not_for_ever() -> None:
    with (
        staged(FAST) as stage,
        started(stage, "finishes", "&pieces=100") as quick,
        started(stage, "hangs") as stuck,
    ):
        stage.stop()
        quick.read_to_the_end()
        assert quick.ended_cleanly
        assert stage.the_end("finishes").outcome == "complete"
        assert stage.the_end("hangs").outcome == "error"
        stuck.read_to_the_end()
        assert stuck.over == "reset"


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("exact", ["", "&exact=1"])
def test_the_cut_stays_a_cut_through_nginx(stage: Stage, tmp_path: Path, exact: str) -> None:
    with nginx_before(stage.port, tmp_path) as port:
        name = f"proxied{len(exact)}"
        with Client(port, f"/download?name={name}{exact}") as client:
            client.read(8 * MIB)
            time.sleep(0.3)
            before = client.count
            stage.cuts[name].cut_from_thread("consent revoked")
            assert stage.the_end(name).outcome == "revoked"
            client.read_to_the_end()
        assert not client.ended_cleanly
        assert client.count - before <= DRAIN_LIMIT
        assert client.count < 4096 * len(PIECE)


@contextlib.contextmanager
def nginx_before(upstream: int, home: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (home / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
        events {{ worker_connections 64; }}
        http {{ access_log off; client_body_temp_path {home}/body; {temporary}
            server {{ listen 127.0.0.1:{port} sndbuf=256k;
                location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
                              proxy_set_header Connection ""; proxy_buffering off; }} }} }}""")
    process = subprocess.Popen(["nginx", "-p", home, "-c", home / "nginx.conf", "-e", home / "error.log"])
    try:
        wait_until(lambda: answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
