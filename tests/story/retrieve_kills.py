"""kill -9 at random moments of retrieves: what a client has received is on record, and every intent gets one end.

python -m tests.story.retrieve_kills --times 50
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.log.reading import OpenedEvent
from tests.story.hospital import Facility, Hospital, Server
from tests.story.images import MIB, PETER, PETER_STUDY, large_study, sample_files, study_uid
from tests.story.wire import Cut, Line
from tests.story.world import AS_STORED, FRAMES_AS_STORED, JSON, Named, named_in

CLIENTS = 4
LONGEST_S = 0.8  # between the start of the clients and the kill
SWEPT_S = 40.0  # by then every intent must have its end
LARGE = study_uid(60)
LARGE_PATIENT = "KILLS-1"


@dataclass(frozen=True, kw_only=True)
class Received:
    """Bytes of images or metadata that reached a client."""

    request: str
    study: str
    series: str | None
    what: str


@dataclass(kw_only=True)
class Client:
    """Asks for one thing after another until the gateway is gone, and remembers what it was given."""

    line: Line
    chance: random.Random
    named: Sequence[Named]
    received: list[Received] = field(default_factory=list)

    def run(self) -> None:
        try:
            with self.line:
                while True:
                    self._ask(self.chance.choice(self.named))
        except (Cut, OSError):
            return

    def _ask(self, one: Named) -> None:
        path, accept, series, what = self.chance.choice(
            [
                (one.study_path, AS_STORED, None, "instances"),
                (one.series_path, AS_STORED, one.series, "instances"),
                (one.path, AS_STORED, one.series, "instances"),
                (one.study_path + "/metadata", JSON, None, "metadata"),
                (one.path + "/metadata", JSON, one.series, "metadata"),
                (one.path + "/frames/1", FRAMES_AS_STORED, one.series, "frames"),
            ]
        )
        self.line.begin(path, accept)
        head = self.line.head()
        if head.status != 200:
            raise AssertionError(f"{path} was answered {head.status}")
        left = head.length or 0
        left -= len(self.line.read(1))
        self.received.append(Received(request=head.header("x-request-id"), study=one.study, series=series, what=what))
        while left:
            left -= len(self.line.read(1))


@dataclass(kw_only=True)
class Round:
    """One kill, what the clients had received by then, and what the record says."""

    facility: Facility
    received: Sequence[Received]
    problems: list[str] = field(default_factory=list)
    open_intents: int = 0


def furnish(hospital: Hospital) -> list[Named]:
    """A small study and a large one; gives the images that clients ask for."""
    hospital.hold(sample_files(PETER_STUDY))
    hospital.hold(large_study(LARGE_PATIENT, 60, instances=8, instance_bytes=2 * MIB))
    large = Named(study=LARGE, series=f"{LARGE}.1", instance=f"{LARGE}.1.3")
    return [*(named_in(path) for path in sample_files(PETER_STUDY)), large, large]


def kill_once(hospital: Hospital, server: Server, named: Sequence[Named], chance: random.Random) -> Round:
    """Let clients retrieve, kill the gateway, and hold what they received against the record."""
    facility = hospital.facility()
    for patient in (PETER, LARGE_PATIENT):
        hospital.consent(facility, patient)
    token = facility.token(server.url)
    clients = [
        Client(line=Line(port=server.port, token=token), chance=random.Random(chance.random()), named=named)
        for _ in range(CLIENTS)
    ]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0, LONGEST_S))
    server.kill()
    for thread in threads:
        thread.join(30)
    received = [one for client in clients for one in client.received]
    done = Round(facility=facility, received=received)
    events = hospital.events("facility", facility.client_id)
    done.problems += uncovered(received, events)
    done.open_intents = len(open_intents(events))
    return done


def uncovered(received: Sequence[Received], events: Sequence[OpenedEvent]) -> Iterator[str]:
    """What was received without a durable intent (law 6)."""
    intents = [event for event in events if event.kind.value == "retrieve.intent"]
    own = {event.request: event for event in intents}
    for one in received:
        if one.series is None:
            intent = own.get(one.request)
            if intent is None or intent.sealed["study"] != one.study:
                yield f"request {one.request} ({one.what} of a study) has no intent of its own"
        elif not any(_covers(intent, one) for intent in intents):
            yield f"request {one.request} ({one.what} of a series) stands under no intent"


def _covers(intent: OpenedEvent, one: Received) -> bool:
    sealed, plain = intent.sealed, intent.plain
    return one.series in sealed["series"] and sealed["study"] == one.study and plain["what"] == one.what


def open_intents(events: Sequence[OpenedEvent]) -> set[str]:
    """The requests whose intents have no end yet."""
    ended = {event.request for event in events if event.kind.value != "retrieve.intent"}
    return {event.request for event in events if event.kind.value == "retrieve.intent"} - ended


def settle(hospital: Hospital, done: Round) -> None:
    """After a restart every open intent becomes unknown, once."""
    until = time.monotonic() + SWEPT_S
    while open_intents(hospital.events("facility", done.facility.client_id)) and time.monotonic() < until:
        time.sleep(0.1)
    events = hospital.events("facility", done.facility.client_id)
    done.problems += [f"request {request} has no end" for request in open_intents(events)]
    ends = Counter(
        event.request for event in events if event.kind.value in {"retrieve.outcome", "retrieve.unknown-after-crash"}
    )
    done.problems += [f"request {request} ended {times} times" for request, times in ends.items() if times != 1]
    unknown = [event for event in events if event.kind.value == "retrieve.unknown-after-crash"]
    if len(unknown) != done.open_intents:
        done.problems.append(f"{done.open_intents} intents were open, {len(unknown)} became unknown")


def verify(hospital: Hospital) -> list[str]:
    """What `openpriors log verify` finds."""
    log, database = hospital.parts.log, hospital.parts.database
    log.advance()
    found = database.read(log.verify, None)
    return [] if found.ok else list(found.problems)


def campaign(times: int, seed: int) -> list[str]:
    """Kill so often; gives what went wrong."""
    chance, wrong = random.Random(seed), []
    began, responses, unknown = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="retrieve-kills-") as home:
        hospital = Hospital(Path(home))
        try:
            named = furnish(hospital)
            server = hospital.serve()
            for number in range(times):
                done = kill_once(hospital, server, named, chance)
                server = restart(hospital, beside=number % 5 == 4)
                settle(hospital, done)
                responses, unknown = responses + len(done.received), unknown + done.open_intents
                wrong += [f"kill {number + 1}: {problem}" for problem in done.problems]
            wrong += verify(hospital)
        finally:
            hospital.close()
    print(
        f"kills of retrieve {times} seed {seed}: {responses} responses had begun, {unknown} intents became unknown,"
        f" {len(wrong)} violations, {time.monotonic() - began:.0f} s"
    )
    return wrong


def restart(hospital: Hospital, *, beside: bool) -> Server:
    """Serve again; `beside` lets two nodes start and sweep at the same time, of which one then stops."""
    if not beside:
        return hospital.serve()
    starting = threading.Thread(target=hospital.serve)
    starting.start()
    server = hospital.serve()
    starting.join()
    for other in hospital.servers:
        if other is not server:
            other.stop()
    return server


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given = parser.parse_args()
    wrong = campaign(given.times, given.seed)
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
