"""What ends a permission ends the downloads that stand on it: readers of every kind, and what they are left with.

python -m tests.story.revocation --trials 20
"""

from __future__ import annotations

import argparse
import fcntl
import ssl
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from consent import parties, register
from tests.conftest import free_port, require
from tests.story.front import Front
from tests.story.hospital import SECOND, Facility, Hospital, Server, now
from tests.story.images import MIB, large_study, study_uid
from tests.story.wire import LAST_CHUNK, Head, Line
from tests.story.world import AS_STORED, BASE

MAY_DRAIN = 16 * MIB
SOON_S = 5.0  # a second is promised; a machine that is busy with other things is given more
EXPLICIT = 'multipart/related; type="application/dicom"'  # converted on the way, hence of no known length: chunked
PATIENT, IMPLICIT_PATIENT = "LARGE-1", "LARGE-2"
STUDY, IMPLICIT_STUDY = study_uid(50), study_uid(51)


@dataclass(kw_only=True)
class Reading:
    """One download: what arrived, until when, and how it ended."""

    kind: str
    request: str = ""
    length: int | None = None
    received: int = 0
    read: int = 0  # when the permission ended
    waiting: int = 0  # at that moment, unread in the buffers of the client's own machine
    tail: bytes = b""
    ended: int = 0  # the instant at which the client knew
    exit_status: int | None = None
    failure: str = ""

    @property
    def drained(self) -> int:
        """Bytes that reached the client's machine after the permission had ended."""
        return max(0, self.received - self.read - self.waiting)

    @property
    def is_whole(self) -> bool:
        """Whether the client could take it for a complete answer."""
        if self.exit_status is not None:
            return self.exit_status == 0
        return self.received == self.length if self.length is not None else self.tail.endswith(LAST_CHUNK)


@dataclass(kw_only=True)
class Place:
    """A gateway, and the same data directory served by a second one behind nginx."""

    hospital: Hospital
    direct: Server
    behind: Server
    front: Front

    def tokens(self, facility: Facility) -> tuple[str, str]:
        """A token for each way; they name different issuers."""
        return facility.token(self.direct.url), facility.token(self.front.url, verify=self.front.certificate)


@contextmanager
def open_place(home: Path, nginx: str, *, instances: int) -> Iterator[Place]:
    """Two nodes on one data directory with two large studies, one behind nginx."""
    hospital = Hospital(home / "hospital")
    front = None
    try:
        hospital.hold(large_study(PATIENT, 50, instances=instances))
        hospital.hold(large_study(IMPLICIT_PATIENT, 51, instances=instances, implicit=True))
        port = free_port()
        front = Front(home / "nginx", nginx, port)
        behind = hospital.serve(port=port, public_url=front.url, trusted_proxy="127.0.0.1")
        yield Place(hospital=hospital, direct=hospital.serve(), behind=behind, front=front)
    finally:
        if front is not None:
            front.stop()
        hospital.close()


class Reader(threading.Thread):
    """A client in a thread of its own that has begun to receive, and that hears when the permission has ended."""

    def __init__(self, kind: str, line: Line, path: str, accept: str) -> None:
        super().__init__(name=kind, daemon=True)
        self.reading = Reading(kind=kind)
        self.line, self.path, self.accept = line, path, accept
        self.flows = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        try:
            with self.line as line:
                line.begin(self.path, self.accept)
                self._begun(line.head())
                self.receive(line)
        except (OSError, AssertionError) as error:
            self.reading.failure = repr(error)
        self.reading.ended = now()
        self.flows.set()

    def receive(self, line: Line) -> None:
        raise NotImplementedError

    def note_end(self) -> None:
        """The permission has just ended."""
        self.reading.waiting, self.reading.read = self._waiting(), self.reading.received
        self.over.set()

    def _waiting(self) -> int:
        try:
            return int.from_bytes(fcntl.ioctl(self.line.socket, termios.FIONREAD, bytes(4)), sys.byteorder)
        except (OSError, ValueError):  # closed meanwhile
            return 0

    def take(self, piece: bytes) -> None:
        self.reading.received += len(piece)
        self.reading.tail = (self.reading.tail + piece[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]

    def _begun(self, head: Head) -> None:
        assert head.status == 200, head
        self.reading.request, self.reading.length = head.header("x-request-id"), head.length


class SlowReader(Reader):
    """Takes a little, all the time."""

    rest_s = 0.004

    def receive(self, line: Line) -> None:
        while self.reading.received != self.reading.length:
            piece = line.read(1) if line.spare else line.socket.recv(1 << 16)
            if not piece:
                return
            self.take(piece)
            if self.reading.received > MIB:
                self.flows.set()
            time.sleep(self.rest_s)


class PausedReader(Reader):
    """Takes a few MiB as fast as it can, then nothing until the permission has ended, then all there is."""

    def receive(self, line: Line) -> None:
        while self.reading.received < 8 * MIB:
            self.take(line.read(1))
        self.flows.set()
        self.over.wait(60)
        time.sleep(1.0)  # it does not know yet: whatever is still sent to it may come
        while piece := line.socket.recv(1 << 20):
            self.take(piece)


class Curl(Reader):
    """curl at a limited rate; whoever runs it looks at its exit status."""

    def __init__(self, kind: str, url: str, token: str, certificate: Path, into: Path) -> None:
        super().__init__(kind, Line.__new__(Line), url, AS_STORED)
        self.token, self.certificate, self.into = token, certificate, into
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        secret, head = self.into.with_suffix(".fields"), self.into.with_suffix(".head")
        secret.write_text(f"Authorization: Bearer {self.token}\nAccept: {self.accept}\n")
        words = ["curl", "-sS", "--limit-rate", "8M", "--cacert", self.certificate, "-H", f"@{secret}"]
        self.process = subprocess.Popen([*words, "-D", head, "-o", self.into, self.path], stderr=subprocess.PIPE)
        while self.process.poll() is None and self._size() < MIB:
            time.sleep(0.01)
        self.flows.set()
        self.reading.failure = self.process.communicate(timeout=120)[1].decode().strip()
        self.reading.ended = now()
        self.reading.exit_status, self.reading.received = self.process.returncode, self._size()
        fields = dict(line.lower().split(": ", 1) for line in head.read_text().splitlines() if ": " in line)
        self.reading.request, self.reading.length = fields["x-request-id"], int(fields["content-length"])

    def note_end(self) -> None:
        self.reading.waiting, self.reading.read = self._waiting(), self._size()
        self.over.set()

    def _waiting(self) -> int:
        assert self.process is not None, "started before it is asked"
        process = Path(f"/proc/{self.process.pid}")
        try:
            own = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
            rows = [row.split() for row in (process / "net/tcp").read_text().splitlines()[1:]]
        except OSError:  # it has ended meanwhile
            return 0
        return sum(int(row[4].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in own)

    def _size(self) -> int:
        return self.into.stat().st_size if self.into.exists() else 0


def readers(place: Place, tokens: tuple[str, str], folder: Path) -> list[Reader]:
    """Every kind of reader by both ways, none of them started."""
    own, others = tokens
    tls = place.front.tls
    made: list[Reader] = []
    for kind, reader in (("slow", SlowReader), ("paused", PausedReader)):
        for way, open_line in _ways(place, own, others, tls):
            made.append(reader(f"{kind} {way}", open_line(), f"{BASE}/studies/{STUDY}", AS_STORED))
    for way, open_line in _ways(place, own, others, tls):
        made.append(SlowReader(f"slow chunked {way}", open_line(), f"{BASE}/studies/{IMPLICIT_STUDY}", EXPLICIT))
    for way, url, token in (("direct", place.direct.url, own), ("nginx", place.front.url, others)):
        into = folder / f"curl-{way}-{now()}"
        made.append(Curl(f"curl {way}", f"{url}{BASE}/studies/{STUDY}", token, place.front.certificate, into))
    return made


def _ways(place: Place, own: str, others: str, tls: ssl.SSLContext) -> list[tuple[str, Callable[[], Line]]]:
    return [
        ("direct", lambda: Line(port=place.direct.port, token=own)),
        ("nginx", lambda: Line(port=place.front.port, token=others, tls=tls)),
    ]


@dataclass(kw_only=True)
class Ending:
    """One permission that ended while downloads ran: when, and what became of them."""

    at: int
    readings: Sequence[Reading]
    outcomes: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # request: outcome, bytes, instant

    def problems(self) -> Iterator[str]:
        """What breaks law 8."""
        for one in self.readings:
            if one.is_whole:
                yield f"{one.kind}: looks complete ({one.received} of {one.length})"
            if one.drained > MAY_DRAIN:
                yield f"{one.kind}: {one.drained} bytes came after the end"
            how, sent, at = self.outcomes[one.request]
            if how != "revoked":
                yield f"{one.kind}: the record says {how}"
            if sent < one.received - framing(one):
                yield f"{one.kind}: received {one.received}, of which the record knows {sent}"
            if at - self.at > SOON_S * SECOND:
                yield f"{one.kind}: sent for {(at - self.at) / SECOND:.1f} s more"

    def lines(self) -> Iterator[str]:
        for one in self.readings:
            _, sent, at = self.outcomes[one.request]
            yield (
                f"{one.kind:22s} cut after {(at - self.at) / SECOND:6.3f} s, client knew after"
                f" {(one.ended - self.at) / SECOND:6.3f} s, {one.drained / MIB:6.2f} MiB drained"
                f" beside {one.waiting / MIB:5.2f} unread,"
                f" {one.received / MIB:7.2f} received, {sent / MIB:7.2f} recorded, {one.exit_status or one.failure}"
            )


def framing(one: Reading) -> int:
    """Bytes of HTTP's own chunk framing that a raw reader may have received beside the body."""
    return 0 if one.length is not None else 64 + one.received // 512


def end_while_reading(
    place: Place, facility: Facility, started: Sequence[Reader], end: Callable[[], int | None]
) -> Ending:
    """Start the readers, end the permission when all receive, and see what becomes of them.

    `end` returns when the permission has ended; where it gives an instant, that is when it ended.
    """
    for reader in started:
        reader.start()
    for reader in started:
        assert reader.flows.wait(60), f"{reader.name} receives nothing"
        assert reader.is_alive(), f"{reader.name} ended before anything was revoked: {reader.reading}"
    at = end() or now()
    for reader in started:
        reader.note_end()
    for reader in started:
        reader.join(90)
        assert not reader.is_alive(), f"{reader.name} still waits"
    ending = Ending(at=at, readings=[reader.reading for reader in started])
    for reading in ending.readings:
        found = place.hospital.outcome_of(facility, reading.request)
        ending.outcomes[reading.request] = (found.plain["outcome"], found.plain["bytes"], found.at)
    return ending


def revoke_consents(place: Place, consents: Sequence[str]) -> None:
    """Revoke, in this process, which is none of those that serve."""
    hospital = place.hospital
    for consent in consents:
        hospital.parts.database.write(
            register.revoke, hospital.parts.log, consent, hospital.provenance(), reason="a story"
        )


def suspend(place: Place, facility: Facility) -> None:
    hospital = place.hospital
    hospital.parts.database.write(
        parties.suspend, hospital.parts.log, facility.client_id, hospital.provenance(), reason="a story"
    )


def consents(place: Place, facility: Facility, **words: int) -> list[str]:
    """Consents to both large studies."""
    return [place.hospital.consent(facility, patient, **words) for patient in (PATIENT, IMPLICIT_PATIENT)]


def trial(place: Place, cause: str, folder: Path) -> Ending:
    """One permission that ends by `cause` while every kind of reader is at work."""
    facility = place.hospital.facility()
    tokens = place.tokens(facility)
    if cause == "expiry":
        ends = now() + 8 * SECOND
        consents(place, facility, ends=ends)

        def wait() -> int:
            time.sleep(max(0, ends - now()) / SECOND)
            return ends

        return end_while_reading(place, facility, readers(place, tokens, folder), wait)
    given = consents(place, facility)
    ends_by: dict[str, Callable[[], None]] = {
        "consent": lambda: revoke_consents(place, given),
        "facility": lambda: suspend(place, facility),
        "token": lambda: give_back(place, facility, tokens),
    }
    return end_while_reading(place, facility, readers(place, tokens, folder), ends_by[cause])


def give_back(place: Place, facility: Facility, tokens: tuple[str, str]) -> None:
    facility.revoke(place.direct.url, tokens[0])
    facility.revoke(place.front.url, tokens[1], verify=place.front.certificate)


CAUSES = ("consent", "expiry", "facility", "token")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=8)
    arguments = parser.parse_args()
    wrong: list[str] = []
    delays: list[float] = []
    drained: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="revocation-") as home,
        open_place(Path(home), require("nginx"), instances=64) as place,
    ):
        for number in range(arguments.trials):
            cause = CAUSES[number % len(CAUSES)]
            ending = trial(place, cause, Path(home))
            print(f"-- {number + 1}: {cause}", *ending.lines(), sep="\n", flush=True)
            wrong += [f"trial {number + 1}, {cause}: {problem}" for problem in ending.problems()]
            delays += [(at - ending.at) / SECOND for _, _, at in ending.outcomes.values()]
            drained += [one.drained for one in ending.readings]
    print(
        f"revocation: {len(delays)} downloads cut, after {sorted(delays)[len(delays) // 2]:.3f} s (median),"
        f" {max(delays):.3f} s (worst); at most {max(drained) / MIB:.1f} MiB drained; {len(wrong)} violations"
    )
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
