"""The work that is measured: what is asked, in which unit it counts, and the goal it is held to."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from . import load
from .client import timed
from .dataset import Bench, Instance
from .peer import Peer, ServerFailed
from .profile import Profile

JSON = {"Accept": "application/dicom+json"}
FRAME = {"Accept": 'multipart/related; type="application/octet-stream"'}
STUDY = {"Accept": 'multipart/related; type="application/dicom"'}
FRAME_BYTES = 512 * 512 * 2
SEARCH_BYTES = 500  # an answer with a study in it is longer, an empty one is not
METADATA_REPEATS, METADATA_S, STUDY_REPEATS = (3, 12), 0.5, 3


class Record(Enum):
    """How many intents the audit log owes for the requests of an item."""

    EACH = "at least one for each request"
    SERIES = "one for each series, token and 60 s"
    BATCH = "at least one for each batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round on one server: the figure, and how many requests it took."""

    value: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One kind of work; `target` is how many times faster than Orthanc in Full mode OpenPriors has to be."""

    name: str
    title: str
    unit: str
    target: float
    record: Record
    measure: Callable[[Peer, int], Sample]
    series: int = 0  # how many series it asks for, where one event may cover a series
    modes: bool = False  # also against Orthanc in its fast metadata mode

    @property
    def less_is_better(self) -> bool:
        return self.unit == "s"


def search_target(patient: str) -> str:
    return f"/studies?PatientID={patient}"


def metadata_target(instance: Instance) -> str:
    return f"/studies/{instance.study}/series/{instance.series}/metadata"


def frame_target(instance: Instance) -> str:
    return f"/studies/{instance.study}/series/{instance.series}/instances/{instance.sop}/frames/1"


def loaded(peer: Peer, targets: Sequence[str], accept: dict[str, str], seconds: int, least: int) -> Sample:
    """Requests/s over 8 connections; raises `ServerFailed` unless every answer was good and long enough."""
    found = load.run(peer.url, targets, {**accept, **peer.headers()}, seconds)
    if found.status or found.socket or found.bytes < found.requests * least:
        raise ServerFailed(f"{peer.name}: not every answer was whole and 200: {found}")
    return Sample(value=found.per_second, requests=found.requests)


def answered(peer: Peer, target: str, headers: dict[str, str], least: int) -> float:
    """The seconds of one GET; raises `ServerFailed` unless it was 200 and long enough."""
    answer = timed(peer.url + target, {**headers, **peer.headers()})
    if answer.status != 200 or answer.length < least:
        raise ServerFailed(f"{peer.name}: {target} answered {answer.status} with {answer.length} bytes")
    return answer.seconds


def search(bench: Bench, profile: Profile) -> Item:
    targets = [search_target(patient) for patient in bench.searched]

    def measure(peer: Peer, _: int) -> Sample:
        return loaded(peer, targets, JSON, profile.load_s, SEARCH_BYTES)

    title = f"patient search, {load.CONNECTIONS} connections"
    return Item(name="search", title=title, unit="/s", target=10, record=Record.EACH, measure=measure)


def metadata(bench: Bench, profile: Profile, coding: str) -> Item:
    target = metadata_target(bench.large[0])
    fewest, most = METADATA_REPEATS

    def measure(peer: Peer, _: int) -> Sample:
        peer.headers()  # a token is renewed outside the timed part
        taken: list[float] = []
        while len(taken) < fewest or (sum(taken) < METADATA_S and len(taken) < most):
            taken.append(answered(peer, target, {**JSON, "Accept-Encoding": coding}, 1000))
        return Sample(value=statistics.median(taken), requests=len(taken))

    title = f"series metadata, {profile.slices} slices, {coding}"
    return Item(
        name=f"metadata-{coding}",
        title=title,
        unit="s",
        target=30,
        record=Record.SERIES,
        measure=measure,
        series=1,
        modes=True,
    )


def frames(bench: Bench, profile: Profile) -> Item:
    targets = [frame_target(instance) for instance in bench.large]

    def measure(peer: Peer, _: int) -> Sample:
        return loaded(peer, targets, FRAME, profile.load_s, FRAME_BYTES)

    title = f"single frame 512 KiB, {load.CONNECTIONS} connections"
    return Item(name="frame", title=title, unit="/s", target=3, record=Record.SERIES, measure=measure, series=2)


def study(bench: Bench) -> Item:
    target, size = f"/studies/{bench.large[0].study}", sum(one.size for one in bench.large)

    def measure(peer: Peer, _: int) -> Sample:
        peer.headers()
        taken = [answered(peer, target, STUDY, size) for _ in range(STUDY_REPEATS)]
        return Sample(value=size / statistics.median(taken) / 1e9, requests=STUDY_REPEATS)

    title = f"whole study, {len(bench.large)} instances, {size / 1e6:.0f} MB, one client"
    return Item(name="study", title=title, unit="GB/s", target=1, record=Record.EACH, measure=measure)


def store(bench: Bench) -> Item:
    def measure(peer: Peer, at: int) -> Sample:
        files = bench.paths(bench.store[at])
        for path in files:
            path.read_bytes()  # the page cache holds them for whoever comes first, too
        os.sync()  # what the other server left unwritten is not this one's to wait for
        time.sleep(0.1)
        return Sample(value=len(files) / peer.store(files), requests=1)

    title = f"store, {len(bench.store[0])} instances of 512 KiB"
    return Item(name="store", title=title, unit="files/s", target=1, record=Record.BATCH, measure=measure)


def items(bench: Bench, profile: Profile) -> list[Item]:
    """All work of a run, in its order."""
    return [
        search(bench, profile),
        metadata(bench, profile, "identity"),
        metadata(bench, profile, "gzip"),
        frames(bench, profile),
        study(bench),
        store(bench),
    ]
