"""HTTP/1.1 as bytes on a socket: what a client really receives, kept as it came, also of an answer that was cut."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

PATIENCE_S = 30.0
PIECE_BYTES = 1 << 16
DIFFERS_ALWAYS = frozenset({"date", "x-request-id"})
END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Cut(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer: header fields in their order, names in lower case."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return dict(self.fields).get(name, "")

    @property
    def features(self) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """All that a client can compare, without what differs from one answer to the next in any case."""
        return self.status, tuple(f for f in self.fields if f[0] not in DIFFERS_ALWAYS), self.body


@dataclass(kw_only=True)
class Head:
    """The beginning of an answer."""

    status: int
    fields: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        return dict(self.fields).get(name, "")

    @property
    def length(self) -> int | None:
        """The Content-Length, or None where the body is chunked."""
        text = self.header("content-length")
        return int(text) if text else None


@dataclass(kw_only=True)
class Line:
    """One connection to a gateway; requests follow one another on it.

    `receive_bytes` bounds what this machine takes in while nobody reads (SO_RCVBUF).
    """

    port: int
    token: str = ""
    tls: ssl.SSLContext | None = None
    receive_bytes: int | None = None
    socket: socket.socket = field(init=False)
    spare: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        plain = socket.socket()
        if self.receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_bytes)
        plain.settimeout(PATIENCE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.connect(("127.0.0.1", self.port))
        self.socket = plain if self.tls is None else self.tls.wrap_socket(plain, server_hostname="localhost")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def get(self, path: str, accept: str | None = None, **fields: str) -> Answer:
        """The whole answer to a GET."""
        return self.ask("GET", path, accept, **fields)

    def ask(self, method: str, path: str, accept: str | None = None, **fields: str) -> Answer:
        """The whole answer to a request.

        Raises
        ------
        Cut : the connection ended first
        """
        self.begin(path, accept, method=method, **fields)
        head = self.head()
        body = b"" if method == "HEAD" or head.status in {204, 304} else self._body(head)
        return Answer(status=head.status, fields=head.fields, body=body)

    def begin(self, path: str, accept: str | None = None, *, method: str = "GET", **fields: str) -> None:
        """Send a request and read nothing."""
        self.socket.sendall(request_bytes(method, path, self._fields(accept, fields), port=self.port))

    def head(self) -> Head:
        """The status line and the header fields of the answer that is due."""
        while END_OF_HEAD not in self.spare:
            self.spare += self._more()
        text, _, self.spare = self.spare.partition(END_OF_HEAD)
        lines = text.decode("latin-1").split("\r\n")
        fields = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:]))
        return Head(status=int(lines[0].split(" ")[1]), fields=fields)

    def read(self, at_least: int) -> bytes:
        """At least so many bytes of a body, as they come."""
        while len(self.spare) < at_least:
            self.spare += self._more()
        taken, self.spare = self.spare, b""
        return taken

    def drain(self, *, pause_s: float = 0.0) -> bytes:
        """What still comes until the connection ends, in whatever way; a slow reader rests after each piece."""
        pieces = [self.spare]
        self.spare = b""
        while True:
            try:
                pieces.append(self._more())
            except (Cut, OSError):
                return b"".join(pieces)
            time.sleep(pause_s)

    def _fields(self, accept: str | None, more: Mapping[str, str]) -> dict[str, str]:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        asked = {"Accept": accept} if accept is not None else {}
        return {**own, **asked, **{name.replace("_", "-"): value for name, value in more.items()}}

    def _body(self, head: Head) -> bytes:
        if head.length is not None:
            return self._exactly(head.length)
        pieces = []
        while size := int(self._text_line(), 16):
            pieces.append(self._exactly(size))
            self._exactly(2)
        self._exactly(2)
        return b"".join(pieces)

    def _exactly(self, size: int) -> bytes:
        pieces, have = [self.spare], len(self.spare)
        while have < size:
            pieces.append(self._more())
            have += len(pieces[-1])
        whole = b"".join(pieces)
        self.spare = whole[size:]
        return whole[:size]

    def _text_line(self) -> str:
        while b"\r\n" not in self.spare:
            self.spare += self._more()
        line, _, self.spare = self.spare.partition(b"\r\n")
        return line.decode("ascii")

    def _more(self) -> bytes:
        piece = self.socket.recv(PIECE_BYTES)
        if not piece:
            raise Cut
        return piece


def request_bytes(method: str, path: str, fields: Mapping[str, str], *, port: int) -> bytes:
    """A request without a body."""
    named = {"Host": f"127.0.0.1:{port}", **fields}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parts_of(answer: Answer) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart answer: header fields and bytes (RFC 2046 5.1)."""
    boundary = answer.header("content-type").partition("boundary=")[2].strip('"').encode()
    *parts, end = (b"\r\n" + answer.body).split(b"\r\n--" + boundary)[1:]
    assert end == b"--\r\n", "the closing boundary is missing"
    return [_part(part.removeprefix(b"\r\n")) for part in parts]


def _part(part: bytes) -> tuple[dict[str, str], bytes]:
    head, _, content = part.partition(END_OF_HEAD)
    lines = (line.partition(":") for line in head.decode("ascii").split("\r\n"))
    return {name.lower(): value.strip() for name, _, value in lines}, content
