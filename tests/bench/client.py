"""A client that costs less than any server under test: one request on a raw socket, received into one buffer."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

BUFFER = 1 << 20
HEAD_LIMIT = 64 << 10
TIMEOUT_S = 120


class BrokenAnswer(Exception):
    """The server's answer ended before it was whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status line and header fields, names in lower case, and what came behind them in the same reads."""

    status: int
    fields: Mapping[str, str]
    rest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response: `length` in bytes as sent; `body` only where it was asked for, without transfer coding."""

    status: int
    fields: Mapping[str, str]
    length: int
    seconds: float
    body: bytes = b""


def request_bytes(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The request as it goes on the wire; the connection ends with it, so that the end is seen without parsing."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": parts.netloc, "Connection": "close", "Accept-Encoding": "identity", **headers}
    if method != "GET":
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


def connect(url: str, receive_buffer: int | None = None) -> socket.socket:
    parts = urlsplit(url)
    sock = socket.socket()
    sock.settimeout(TIMEOUT_S)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect((parts.hostname or "127.0.0.1", parts.port or 80))
    return sock


def read_head(sock: socket.socket) -> Head:
    """Receive up to the end of the header (RFC 9112 section 2.1)."""
    held = b""
    while b"\r\n\r\n" not in held:
        piece = sock.recv(HEAD_LIMIT)
        if not piece or len(held) > HEAD_LIMIT:
            raise BrokenAnswer
        held += piece
    head, _, rest = held.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Head(status=int(first.split(" ", 2)[1]), fields=fields, rest=rest)


def drain(sock: socket.socket, head: Head) -> tuple[int, bytes]:
    """Receive and forget the body; returns its length on the wire and its last bytes."""
    wanted = int(head.fields["content-length"]) if "content-length" in head.fields else None
    length, tail = len(head.rest), head.rest[-16:]
    buffer = memoryview(bytearray(BUFFER))
    while wanted is None or length < wanted:
        count = sock.recv_into(buffer)
        if not count:
            break
        tail = (tail + bytes(buffer[max(0, count - 16) : count]))[-16:]
        length += count
    if wanted is not None and length != wanted:
        raise BrokenAnswer
    return length, tail


def timed(url: str, headers: Mapping[str, str]) -> Answer:
    """GET without keeping the body: the seconds from the request to the last byte."""
    started = time.perf_counter()
    with connect(url) as sock:
        sock.sendall(request_bytes("GET", url, headers))
        head = read_head(sock)
        length, tail = drain(sock, head)
    seconds = time.perf_counter() - started
    if head.fields.get("transfer-encoding", "").lower() == "chunked" and not tail.endswith(b"0\r\n\r\n"):
        raise BrokenAnswer
    return Answer(status=head.status, fields=head.fields, length=length, seconds=seconds)


def unchunk(data: bytes) -> bytes:
    """Undo the chunked transfer coding (RFC 9112 section 7.1)."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise BrokenAnswer
        size = int(data[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        if len(data) < end + 4 + size:
            raise BrokenAnswer
        pieces.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size


def whole(url: str, headers: Mapping[str, str], method: str = "GET", body: bytes = b"") -> Answer:
    """One request and its whole answer; for checks and stores, not for large timed answers."""
    started = time.perf_counter()
    with connect(url) as sock:
        sock.sendall(request_bytes(method, url, headers, body))
        head = read_head(sock)
        wanted = int(head.fields["content-length"]) if "content-length" in head.fields else None
        pieces, length = [head.rest], len(head.rest)
        while wanted is None or length < wanted:
            piece = sock.recv(BUFFER)
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
    if wanted is not None and length != wanted:
        raise BrokenAnswer
    data = b"".join(pieces)
    if head.fields.get("transfer-encoding", "").lower() == "chunked":
        data = unchunk(data)
    seconds = time.perf_counter() - started
    return Answer(status=head.status, fields=head.fields, length=length, seconds=seconds, body=data)


def multipart(answer: Answer) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart/related body (RFC 2046 section 5.1.1), header fields and bytes of each."""
    media = answer.fields["content-type"]
    boundary = media.partition("boundary=")[2].split(";")[0].strip().strip('"')
    if not boundary:
        raise BrokenAnswer
    mark = b"--" + boundary.encode()
    body = answer.body
    at, parts = body.find(mark), []
    while at >= 0 and body[at + len(mark) : at + len(mark) + 2] != b"--":
        head_end = body.index(b"\r\n\r\n", at)
        lines = body[at + len(mark) : head_end].decode("latin-1").strip().split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        start = head_end + 4
        length = (
            int(fields["content-length"]) if "content-length" in fields else body.index(b"\r\n" + mark, start) - start
        )
        parts.append((fields, body[start : start + length]))
        at = body.find(mark, start + length)
    if at < 0:
        raise BrokenAnswer
    return parts
