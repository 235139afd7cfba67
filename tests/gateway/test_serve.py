"""What a client may not do to the server, and how the server ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.serve import Limits, listen, serve

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
LIMITS = Limits(look_s=0.05, head_s=0.4, body_stall_s=0.4, send_stall_s=0.6, connections=8, finish_s=0.2)
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from gateway.serve import run

async def pieces():
    for _ in range(64):
        yield bytes(1 << 20)

async def download(request):
    return StreamingResponse(pieces())

app = Starlette(routes=[Route("/", download)])
try:
    run(app, host="127.0.0.1", port=int(sys.argv[2]), shared_port=True, on_ready=lambda: print("ready", flush=True))
finally:
    print("ended in order", flush=True)
"""


def application() -> Starlette:
    async def seen(request: Request) -> Response:
        body = await request.body()
        return PlainTextResponse(f"{len(body)} {request.client and request.client.host} {sorted(request.headers)}")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 20)

    async def large(_request: Request) -> Response:
        return StreamingResponse(pieces())

    return Starlette(routes=[Route("/", seen, methods=["GET", "POST"]), Route("/large", large)])


@contextlib.contextmanager
def serving(**options: object) -> Iterator[int]:
    ready, listener = threading.Event(), listen("127.0.0.1", 0)
    stops: list[Callable[[], None]] = []

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        await serve(application(), listener, limits=LIMITS, on_ready=ready.set, stop=stop, **options)  # type: ignore[arg-type]

    thread = threading.Thread(target=lambda: uvloop.run(main()))
    thread.start()
    assert ready.wait(PATIENCE_S)
    port = listener.getsockname()[1]
    try:
        yield port
    finally:
        stops[0]()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def connect(port: int, first: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    client.sendall(first)
    return client


def rest(client: socket.socket) -> bytes:
    """Everything until the server closes or resets the connection; fails if it does neither."""
    received = bytearray()
    with client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while data := client.recv(1 << 18):
            received += data
    return bytes(received)


def ask(port: int, head: bytes, body: bytes = b"") -> bytes:
    return rest(connect(port, head + b"Host: gateway\r\nConnection: close\r\n\r\n" + body))


def test_an_idle_connection_is_closed(port: int) -> None:
    assert rest(connect(port)) == b""


def test_a_head_that_drips_is_not_waited_for(port: int) -> None:
    client = connect(port, b"GET / HTTP/1.1\r\nHost: gateway\r\nX-Slow: ")
    began, closed = time.monotonic(), False
    while not closed and time.monotonic() - began < PATIENCE_S:
        try:
            client.sendall(b"a")
            time.sleep(0.02)
        except OSError:
            closed = True
    client.close()
    assert closed


def test_a_second_head_that_drips_is_not_waited_for_either(port: int) -> None:
    client = connect(port, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert client.recv(12) == b"HTTP/1.1 200"
    client.sendall(b"GET")
    assert b"HTTP/1.1" not in rest(client)


def test_a_body_that_stalls_is_not_waited_for(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nabc"
    assert b" 200 " not in rest(connect(port, head))


def test_a_client_that_takes_nothing_is_not_waited_for(port: int) -> None:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    client.settimeout(PATIENCE_S)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET /large HTTP/1.1\r\nHost: gateway\r\n\r\n")
    time.sleep(1.5)
    assert len(rest(client)) < 64 << 20


@pytest.mark.parametrize("field", ["one", "many", "target"])
def test_a_giant_head_is_refused_and_not_kept(port: int, field: str) -> None:
    filler = {
        "one": b"GET / HTTP/1.1\r\nX-Long: " + b"a" * (32 << 20),
        "many": b"GET / HTTP/1.1\r\n" + b"X-Many: a\r\n" * 3_000_000,
        "target": b"GET /?" + b"a" * (32 << 20),
    }[field]
    client, sent = connect(port), 0
    with contextlib.suppress(OSError):
        for begin in range(0, len(filler), 1 << 16):
            sent += client.send(filler[begin : begin + (1 << 16)])
    answer = rest(client)
    assert sent < len(filler)
    assert b" 200 " not in answer


def test_a_whole_head_beyond_the_limit_in_one_packet_is_refused(port: int) -> None:
    assert b" 400 " in ask(port, b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + b"\r\n")


def test_trailers_add_nothing_to_the_request(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    answer = ask(port, head, b"3\r\nabc\r\n0\r\nX-Forged: yes\r\n\r\n")
    assert b"3 127.0.0.1" in answer
    assert b"x-forged" not in answer


def test_endless_trailers_are_refused(port: int) -> None:
    client = connect(port, b"POST / HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: ")
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 32 << 20:
            sent += client.send(b"a" * 65536)
    client.close()
    assert sent < 32 << 20


def test_a_long_upload_in_tiny_chunks_is_received(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    assert b"200000 127" in ask(port, head, b"1\r\na\r\n" * 200_000 + b"0\r\n\r\n")


def test_garbage_behind_a_request_never_enters_its_response(port: int) -> None:
    client = connect(port, b"GET /large HTTP/1.1\r\nHost: gateway\r\n\r\n")
    answer = client.recv(1 << 16)
    time.sleep(0.1)  # the response is held back by us, so it is still being sent
    client.sendall(b"\x00garbage\r\n\r\n")
    answer += rest(client)
    assert answer.count(b"HTTP/1.1") == 1
    assert len(answer) < 64 << 20


def test_connections_beyond_the_limit_are_turned_away(port: int) -> None:
    held = [connect(port) for _ in range(LIMITS.connections)]
    assert rest(connect(port, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")) == b""
    for client in held:
        client.close()


@pytest.mark.parametrize(("trusted", "believed"), [(None, b"127.0.0.1"), ("127.0.0.1", b"203.0.113.7")])
def test_a_forwarded_address_is_believed_from_the_named_proxy_alone(trusted: str | None, believed: bytes) -> None:
    with serving(trusted_proxy=trusted) as port:
        assert b"0 " + believed in ask(port, b"GET / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.7\r\n")


@contextlib.contextmanager
def program(port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline() == b"ready\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order_after_the_running_download(number: signal.Signals) -> None:
    port = free_port()
    with program(port) as process:
        client = connect(port, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        first = client.recv(1 << 16)
        process.send_signal(number)
        answer = first + rest(client)
        assert len(answer) > 64 << 20
        assert answer.endswith(b"0\r\n\r\n")
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"ended in order\n"


def test_a_killed_server_leaves_nothing_behind() -> None:
    port = free_port()
    with program(port) as process:
        assert not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)
        with pytest.raises(ConnectionRefusedError):
            connect(port)


def test_two_processes_share_one_port() -> None:
    port = free_port()
    with program(port) as first, program(port) as second:
        first.terminate()
        first.wait(PATIENCE_S)
        with connect(port, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n") as client:
            assert client.recv(12) == b"HTTP/1.1 200"
        assert second.poll() is None
