"""That the timed answers are the right ones, on both sides, and that OpenPriors gave them with everything on."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pydicom

from .client import Answer, BrokenAnswer, multipart, whole
from .dataset import LARGE, Bench, Instance
from .items import FRAME, JSON, STUDY, frame_target, metadata_target, search_target
from .openpriors import OpenPriors
from .peer import Peer, ServerFailed

SAMPLED_FRAMES = 16
URLS = {"00081190"}  # Retrieve URL: the server's own, no attribute of the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise about the answers: `found` says what was seen, whether or not it holds."""

    peer: str
    promise: str
    ok: bool
    found: str


def guarded(peer: str, promise: str, work: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that `work` makes; that it could not make them is a failed one."""
    try:
        return list(work())
    except (ServerFailed, BrokenAnswer, OSError, ValueError, LookupError, subprocess.TimeoutExpired) as error:
        return [Check(peer=peer, promise=promise, ok=False, found=f"{type(error).__name__}: {error or error.__doc__}")]


def get(peer: Peer, target: str, headers: Mapping[str, str]) -> Answer:
    return whole(peer.url + target, {**headers, **peer.headers()})


def decoded(answer: Answer) -> Any:
    """The JSON of an answer, without its content coding."""
    coded = answer.fields.get("content-encoding") == "gzip"
    return json.loads(gzip.decompress(answer.body) if coded else answer.body)


def search_is_right(peer: Peer, bench: Bench) -> Iterator[Check]:
    """Every search finds that patient's studies and no others."""
    wrong = []
    for patient in bench.searched:
        answer = get(peer, search_target(patient), JSON)
        expected = {study for study, owner in bench.patients.items() if owner == patient}
        found = [row["0020000D"]["Value"][0] for row in decoded(answer)] if answer.status == 200 else []
        if sorted(found) != sorted(expected):
            wrong.append(f"{patient}: {answer.status}, {len(found)} studies, not {len(expected)}")
    asked = f"{len(bench.searched)} searches"
    yield Check(
        peer=peer.name, promise="the same studies for each patient", ok=not wrong, found="; ".join([asked, *wrong])
    )


def tags_of_files(bench: Bench, series: list[Instance]) -> dict[str, set[str]]:
    """What the files say: the attributes of each instance's data set, by SOP Instance UID."""
    found = {}
    for instance in series:
        ds = pydicom.dcmread(bench.root / instance.path, defer_size=1024)
        found[instance.sop] = {f"{int(tag):08X}" for tag in ds.keys()}  # noqa: SIM118 - values stay unread
    return found


def metadata_is_whole(peer: Peer, bench: Bench, coding: str, expected: dict[str, set[str]] | None) -> Iterator[Check]:
    """As many instances as the series has, each with every attribute of its file (`expected`), and no others."""
    series = [one for one in bench.large if one.series == bench.large[0].series]
    answer = get(peer, metadata_target(series[0]), {**JSON, "Accept-Encoding": coding})
    rows = decoded(answer) if answer.status == 200 else []
    found = {row["00080018"]["Value"][0]: set(row) for row in rows}
    complete = set(found) == {one.sop for one in series} and len(rows) == len(series)
    counts = sorted({len(tags) for tags in found.values()})
    said = f"{answer.status}, {len(rows)} instances of {counts} attributes, {answer.length} bytes on the wire"
    if expected is not None:
        missing = sorted({tag for sop in found for tag in expected.get(sop, set()) - found[sop]})
        extra = sorted({tag for sop in found for tag in found[sop] - expected.get(sop, set()) - URLS})
        complete = complete and not missing and not extra
        said += f"; missing {missing[:8]}, not in the files {extra[:8]}" if missing or extra else ""
    promise = f"metadata, {coding}: every instance" + (", every attribute" if expected is not None else "")
    yield Check(peer=peer.name, promise=promise, ok=complete, found=said)


def frames_are_right(peer: Peer, bench: Bench) -> Iterator[Check]:
    """A sample of frames is, byte for byte, the pixels that the files hold."""
    wrong = []
    sampled = bench.large[:: max(1, len(bench.large) // SAMPLED_FRAMES)]
    for instance in sampled:
        answer = get(peer, frame_target(instance), FRAME)
        parts = multipart(answer) if answer.status == 200 else []
        if [hashlib.sha256(part).hexdigest() for _, part in parts] != [instance.pixel_digest]:
            wrong.append(f"{instance.path}: {answer.status}")
    said = "; ".join([f"{len(sampled)} frames", *wrong])
    yield Check(peer=peer.name, promise="frames equal in every byte", ok=not wrong, found=said)


def study_is_right(peer: Peer, bench: Bench) -> Iterator[Check]:
    """The whole study is each of its files once, byte for byte."""
    answer = get(peer, f"/studies/{bench.large[0].study}", STUDY)
    parts = multipart(answer) if answer.status == 200 else []
    digests = sorted(hashlib.sha256(part).hexdigest() for _, part in parts)
    ok = digests == sorted(one.digest for one in bench.large)
    said = f"{answer.status}, {len(parts)} parts, {answer.length} bytes on the wire"
    yield Check(peer=peer.name, promise="whole study equal in every byte", ok=ok, found=said)


def answers(peer: Peer, bench: Bench, *, full: bool) -> Iterator[Check]:
    """All checks of one server's answers; with `full`, metadata has to hold every attribute."""
    expected = tags_of_files(bench, bench.large[: len(bench.large) // 2]) if full else None
    for coding in ("identity", "gzip"):
        yield from guarded(peer.name, "metadata", partial(metadata_is_whole, peer, bench, coding, expected))
    if full:
        yield from guarded(peer.name, "search", partial(search_is_right, peer, bench))
        yield from guarded(peer.name, "frames", partial(frames_are_right, peer, bench))
        yield from guarded(peer.name, "whole study", partial(study_is_right, peer, bench))


def protection(peer: OpenPriors, bench: Bench) -> Iterator[Check]:
    """Authorization and consent are on: no token, no answer; no consent, nothing to see."""
    assert peer.stranger is not None, "asked only while it runs"
    targets = (search_target(LARGE), metadata_target(bench.large[0]), frame_target(bench.large[0]))
    statuses = [whole(peer.url + target, JSON).status for target in targets]
    promise = "no token, no answer"
    yield Check(peer=peer.name, promise=promise, ok=set(statuses) == {401}, found=f"statuses {statuses}")
    headers = {**JSON, **peer.stranger.headers()}
    seen = whole(peer.url + search_target(bench.searched[0]), headers)
    hidden = whole(peer.url + metadata_target(bench.large[0]), headers)
    none = seen.status == 204 or (seen.status == 200 and json.loads(seen.body) == [])
    said = f"search {seen.status} with {seen.length} bytes, metadata {hidden.status}"
    promise = "no consent, nothing to see"
    yield Check(peer=peer.name, promise=promise, ok=none and hidden.status == 404, found=said)
