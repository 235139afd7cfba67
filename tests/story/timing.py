"""Can absent and forbidden be told apart? Many interleaved requests, and everything that a client can measure.

python -m tests.story.timing [--requests 20000] [--quick] [--leak-ms 1]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from consent import register
from consent.model import Effect
from tests.storage.made_up import instance
from tests.story.hospital import Facility, Hospital, Server
from tests.story.images import ROOT
from tests.story.telling_apart import Area, Truths, area, learned, pooled
from tests.story.wire import Line
from tests.story.world import AS_STORED, BASE, FRAMES_AS_STORED, JSON, Named

CONNECTIONS = 4
RENEW_S = 120
ALLOWED = 0.01  # from a coin's 0.5
SURPRISING, SURPRISING_ROUTE = 2.4, 3.0  # standard errors that few requests are allowed: by chance once in 60 and 370
STUDIES = 24
KINDS = ("nobody was given it", "another facility was", "it was withdrawn again", "it was refused")
HEAVY = 200  # images of the last study, and studies of the last patient: what costs more to look at
ROUTES = (
    ("search by study", f"{BASE}/studies?StudyInstanceUID={{study}}", JSON),
    ("search by patient", f"{BASE}/studies?PatientID={{patient}}", JSON),
    ("search its series", f"{BASE}/studies/{{study}}/series", JSON),
    ("retrieve study", f"{BASE}/studies/{{study}}", AS_STORED),
    ("retrieve series", f"{BASE}/studies/{{study}}/series/{{series}}", AS_STORED),
    ("retrieve instance", f"{BASE}/studies/{{study}}/series/{{series}}/instances/{{instance}}", AS_STORED),
    ("metadata", f"{BASE}/studies/{{study}}/metadata", JSON),
    ("frames", f"{BASE}/studies/{{study}}/series/{{series}}/instances/{{instance}}/frames/1", FRAMES_AS_STORED),
)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A study that a request may name, with its patient."""

    named: Named
    patient: str

    @property
    def absent(self) -> Thing:
        """One of the same form that is not there."""
        return Thing(named=self.named.absent, patient=f"X{self.patient[1:]}")

    def path(self, route: str) -> str:
        one = self.named
        return route.format(study=one.study, series=one.series, instance=one.instance, patient=self.patient)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to come: by which route, for something forbidden or absent."""

    route: int
    forbidden: bool
    thing: Thing


@dataclass(kw_only=True)
class Measured:
    """What was seen, in order."""

    route: list[int] = field(default_factory=list)
    forbidden: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)  # how long the next request on that connection took
    features: dict[tuple[int, bool], set[object]] = field(default_factory=dict)

    def add(self, asked: Asked, seconds: float, features: object) -> None:
        self.route.append(asked.route)
        self.forbidden.append(asked.forbidden)
        self.seconds.append(seconds)
        self.features.setdefault((asked.route, asked.forbidden), set()).add(features)


def furnish(hospital: Hospital, facility: Facility, heavy: int = HEAVY) -> list[Thing]:
    """Store studies that the facility may not have, for several reasons, and one that it may; gives the forbidden."""
    other = hospital.facility("Hilltop Imaging")
    things = [_thing(number) for number in range(STUDIES)]
    images = [image for number, thing in enumerate(things) for image in _images(thing, 1 + number % 3)]
    images += _images(things[-1], heavy)
    for number in range(heavy):  # the last patient has many studies
        images += _images(Thing(named=_named(f"{ROOT}.79.{number}"), patient=things[-1].patient), 1)
    own = Thing(named=_named(f"{ROOT}.80.1"), patient="T-OWN")
    hospital.hold([*images, *_images(own, 3)])
    hospital.consent(facility, own.patient)
    for number, thing in enumerate(things):
        _decide(hospital, KINDS[number % len(KINDS)], thing, facility, other)
    return things


def _decide(hospital: Hospital, kind: str, thing: Thing, facility: Facility, other: Facility) -> None:
    if kind == KINDS[1]:
        hospital.consent(other, thing.patient)
    elif kind == KINDS[2]:
        consent = hospital.consent(facility, thing.patient)
        hospital.parts.database.write(
            register.revoke, hospital.parts.log, consent, hospital.provenance(), reason="a story"
        )
    elif kind == KINDS[3]:
        hospital.consent(facility, thing.patient)
        hospital.consent(facility, thing.patient, effect=Effect.DENY)


def _named(study: str) -> Named:
    return Named(study=study, series=f"{study}.1", instance=f"{study}.1.1")


def _thing(number: int) -> Thing:
    return Thing(named=_named(f"{ROOT}.78.{100 + number}"), patient=f"T-{100 + number}")


def _images(thing: Thing, count: int) -> list[bytes]:
    return [
        instance(
            number,
            StudyInstanceUID=thing.named.study,
            SeriesInstanceUID=thing.named.series,
            PatientID=thing.patient,
            PatientName=f"Citizen^{thing.patient}",
        )
        for number in range(1, count + 1)
    ]


def plan(things: Sequence[Thing], requests: int, seed: int) -> list[Asked]:
    """As many of each route and each group, in random order."""
    chance = random.Random(seed)
    forbidden_ones = [*things, *[things[-1]] * (len(things) // 3)]  # what costs most to look at is asked for most
    absent = [thing.absent for thing in forbidden_ones]
    each = max(1, requests // (2 * len(ROUTES)))
    asked = [
        Asked(route=route, forbidden=forbidden, thing=chance.choice(forbidden_ones if forbidden else absent))
        for route in range(len(ROUTES))
        for forbidden in (False, True)
        for _ in range(each)
    ]
    chance.shuffle(asked)
    return asked


def measure(server: Server, facility: Facility, asked: Sequence[Asked]) -> Measured:
    """Ask everything over a few connections that stay open."""
    results = [Measured() for _ in range(CONNECTIONS)]
    threads = [
        threading.Thread(target=_ask_all, args=(server, facility, asked[n::CONNECTIONS], results[n]), daemon=True)
        for n in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Measured()
    for one in results:
        whole.route += one.route
        whole.forbidden += one.forbidden
        whole.seconds += one.seconds
        whole.after += [*one.seconds[1:], one.seconds[-1]]
        for key, features in one.features.items():
            whole.features.setdefault(key, set()).update(features)
    if len(whole.route) != len(asked):
        raise RuntimeError(f"only {len(whole.route)} of {len(asked)} requests were answered")
    return whole


def _ask_all(server: Server, facility: Facility, asked: Sequence[Asked], result: Measured) -> None:
    line = Line(port=server.port, token=facility.token(server.url))
    renewed = time.monotonic()
    with line:
        for one in asked:
            if time.monotonic() - renewed > RENEW_S:
                line.token, renewed = facility.token(server.url), time.monotonic()
            _, path, accept = ROUTES[one.route]
            path = one.thing.path(path)
            began = time.perf_counter()
            answer = line.get(path, accept)
            result.add(one, time.perf_counter() - began, answer.features)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a client can tell: by time alone, by what it can learn, and by looking at the answers."""

    by_time: Sequence[Area]
    by_learning: Sequence[Area]
    differing: Sequence[str]

    def told_apart(self) -> Iterator[str]:
        """Everything by which the groups can be told apart."""
        for name in self.differing:
            yield f"{name}: the answers differ"
        for what, areas in (("time", self.by_time), ("learning", self.by_learning)):
            whole = pooled(areas)
            if abs(whole.value - 0.5) > max(ALLOWED, SURPRISING * whole.error):
                yield f"overall by {what}: {whole}"
            for (name, *_), one in zip(ROUTES, areas, strict=True):
                if abs(one.value - 0.5) > max(ALLOWED, SURPRISING_ROUTE * one.error):
                    yield f"{name} by {what}: {one}"

    def lines(self) -> Iterator[str]:
        for (name, *_), one, other in zip(ROUTES, self.by_time, self.by_learning, strict=True):
            yield f"{name:20s} by time {one}   learned {other}"
        yield f"{'overall':20s} by time {pooled(self.by_time)}   learned {pooled(self.by_learning)}"


def judge(measured: Measured, beat_s: float) -> Verdict:
    """Compare the groups, route by route."""
    seconds, after = np.array(measured.seconds), np.array(measured.after)
    features = np.stack([seconds, seconds % beat_s, after], axis=1)
    route, forbidden = np.array(measured.route), np.array(measured.forbidden)
    by_time, by_learning, differing = [], [], []
    for number, (name, *_) in enumerate(ROUTES):
        mine: Truths = route == number
        by_time.append(area(seconds[mine], forbidden[mine]))
        by_learning.append(learned(features[mine], forbidden[mine]))
        seen = [measured.features[number, group] for group in (False, True)]
        if seen[0] != seen[1] or len(seen[0]) != 1:
            differing.append(name)
    return Verdict(by_time=by_time, by_learning=by_learning, differing=differing)


def serve_with_leak(hospital: Hospital, things: Sequence[Thing], delay_ms: float) -> Server:
    """A server whose answers about the forbidden leave a moment later."""
    words = hospital.home / "words"
    words.write_text("\n".join([*(thing.named.study for thing in things), *(thing.patient for thing in things)]))
    program = [sys.executable, "-m", "tests.story.leaky", "--data", hospital.data]
    return hospital.serve(program=[*program, "--words", words, "--delay-ms", str(delay_ms)])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="2,000 requests")
    parser.add_argument("--leak-ms", type=float, default=1.0, help="the leak that must be found, milliseconds")
    parser.add_argument("--beat-ms", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given = parser.parse_args()
    requests = 2_000 if given.quick else given.requests
    with tempfile.TemporaryDirectory(prefix="timing-") as home:
        hospital = Hospital(Path(home))
        try:
            return campaign(hospital, requests, given.leak_ms, given.beat_ms, given.seed)
        finally:
            hospital.close()


def campaign(hospital: Hospital, requests: int, leak_ms: float, beat_ms: int, seed: int) -> int:
    facility = hospital.facility()
    things = furnish(hospital, facility)
    began = time.monotonic()
    server = hospital.serve(refusal_beat_ms=beat_ms)
    verdict = judge(measure(server, facility, plan(things, requests, seed)), beat_ms / 1000)
    server.stop()
    print(f"{requests} requests, seed {seed}, a beat of {beat_ms} ms, {time.monotonic() - began:.0f} s")
    print(*verdict.lines(), sep="\n")
    wrong = list(verdict.told_apart())
    leaky = serve_with_leak(hospital, things, leak_ms)
    seeded = judge(measure(leaky, facility, plan(things, requests // 4, seed + 1)), beat_ms / 1000)
    leaky.stop()
    print(f"with a leak of {leak_ms} ms, {requests // 4} requests:")
    print(*list(seeded.lines())[-1:], sep="\n")
    if not list(seeded.told_apart()):
        wrong.append(f"the seeded leak of {leak_ms} ms was not found, so the rest proves nothing")
    print(*(wrong or ["absent and forbidden cannot be told apart"]), sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
