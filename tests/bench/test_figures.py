"""The bench's own arithmetic and parsing: what a wrong figure could hide behind."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from .client import Answer, BrokenAnswer, multipart, unchunk
from .dataset import prepare
from .items import Item, Record, Sample
from .memory import Memory
from .profile import MIB, QUICK
from .rounds import Result, owed
from .slow import Slow

TINY = replace(
    QUICK, slices=2, patients=2, studies=1, instances=1, searched=2, rounds=1, store_files=1, slow_instances=1
)


def result(unit: str, other: list[float], own: list[float]) -> Result:
    item = Item(
        name="x", title="x", unit=unit, target=2, record=Record.EACH, measure=lambda *_: Sample(value=0, requests=0)
    )
    return Result(item=item, figures={"orthanc": other, "openpriors": own}, memory={})


def test_ratio_says_times_faster_for_rates_and_for_seconds() -> None:
    rates, seconds = result("/s", [10, 20, 10], [20, 20, 50]), result("s", [3.0, 2.0], [1.0, 1.0])
    ratio = rates.ratio("orthanc")
    assert ratio is not None
    assert (ratio.least, ratio.median, ratio.most) == (1, 2, 5)
    assert rates.met()
    assert seconds.ratio("orthanc").median == 2.5  # type: ignore[union-attr]


def test_median_ratio_below_the_target_is_missed() -> None:
    assert result("/s", [10, 10, 10], [19, 19, 90]).met() is False


def test_ratio_of_one_server_alone_is_none() -> None:
    alone = replace(result("/s", [1], [1]), figures={"orthanc": [1.0]})
    assert alone.ratio("orthanc") is None
    assert alone.met() is None


def test_every_search_is_owed_an_event_and_frames_one_for_each_series() -> None:
    item = result("/s", [1], [1]).item
    assert owed(item, 500, 6) == 500
    assert owed(replace(item, record=Record.SERIES, series=2), 500, 6) == 2
    assert owed(replace(item, record=Record.BATCH), 500, 6) == 6


def test_multipart_cut_before_its_last_boundary_is_broken() -> None:
    body = b"--b\r\nContent-Type: a/b\r\n\r\none\r\n--b\r\nContent-Length: 7\r\n\r\n\r\n--b--\r\n--b--\r\n"
    whole = Answer(
        status=200, fields={"content-type": 'multipart/related; boundary="b"'}, length=0, seconds=0, body=body
    )
    assert [data for _, data in multipart(whole)] == [b"one", b"\r\n--b--"]
    with pytest.raises(BrokenAnswer):
        multipart(replace(whole, body=body[: body.rindex(b"--b--")]))


def test_chunked_body_without_its_last_chunk_is_broken() -> None:
    assert unchunk(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n") == b"abcde"
    for cut in (b"3\r\nabc\r\n", b"3\r\nab", b"3"):
        with pytest.raises(BrokenAnswer):
            unchunk(cut)


def test_memory_that_grew_or_a_client_not_served_is_not_flat() -> None:
    flat = Slow(
        peer="openpriors",
        study_bytes=1,
        statuses=[200, 200],
        received=[1, 1],
        seconds=1.0,
        memory=Memory(before=100 * MIB, peak=164 * MIB, after=90 * MIB),
    )
    assert flat.flat
    assert not replace(flat, memory=replace(flat.memory, peak=165 * MIB)).flat
    assert not replace(flat, statuses=[200, 503]).flat
    assert not replace(flat, received=[1, 0]).flat


def test_studies_are_the_same_bytes_wherever_they_are_made(tmp_path: Path) -> None:
    first, second = prepare(tmp_path / "one", TINY), prepare(tmp_path / "two", TINY)
    assert [one.digest for one in first.large] == [one.digest for one in second.large]
    assert len({one.pixel_digest for one in first.large}) == 4
    held = hashlib.sha256(first.paths(first.large)[0].read_bytes()).hexdigest()
    assert held == first.large[0].digest


def test_studies_already_made_are_used_again_unless_a_file_is_gone(tmp_path: Path) -> None:
    made = prepare(tmp_path, TINY)
    stamp = (made.root / "manifest.json").stat().st_mtime_ns
    prepare(tmp_path, TINY)
    assert (made.root / "manifest.json").stat().st_mtime_ns == stamp
    made.paths(made.small)[0].unlink()
    assert prepare(tmp_path, TINY).paths(made.small)[0].exists()
