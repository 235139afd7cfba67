"""A study of which a facility may see a part: never a shorter study, always the whole of what it may see (law 5)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.story.wire import Line, parts_of
from tests.story.world import AS_STORED, BASE, CANARY, JSON, MIXED, World, mixed_images, named_in


@pytest.fixture(scope="module")
def partly(world: World) -> Iterator[Line]:
    """A connection of the facility that may have the CT of a study with CT and MR."""
    facility, line = world.facility()
    world.hospital.consent(facility, CANARY, studies=[MIXED], modalities=["CT"])
    with line:
        yield line


def test_a_study_with_a_hidden_part_is_refused_as_a_whole_in_every_form(partly: Line) -> None:
    bodies = set()
    for method in ("GET", "HEAD"):
        for path, accept in (
            (f"{BASE}/studies/{MIXED}", AS_STORED),
            (f"{BASE}/studies/{MIXED}", 'multipart/related; type="application/dicom"'),
            (f"{BASE}/studies/{MIXED}/metadata", JSON),
        ):
            answer = partly.ask(method, path, accept)
            assert answer.status == 403
            bodies.add(answer.body)
    assert len(bodies) == 2, "one fixed body, and none to HEAD"


def test_the_visible_series_of_such_a_study_can_be_had_and_the_hidden_one_is_absent(partly: Line) -> None:
    scans, hidden = mixed_images()[:2], named_in(mixed_images()[2])
    parts = parts_of(partly.get(named_in(scans[0]).series_path, AS_STORED))
    assert [body for _, body in parts] == scans
    assert len(json.loads(partly.get(named_in(scans[0]).series_path + "/metadata", JSON).body)) == 2
    nothing = hidden.absent
    for (path, accept), (other, _) in zip(hidden.retrieves(), nothing.retrieves(), strict=True):
        if path.startswith(hidden.series_path):
            absent = other.replace(nothing.study, hidden.study)
            assert partly.get(path, accept).features == partly.get(absent, accept).features


def test_counts_are_of_visible_rows_alone(partly: Line) -> None:
    [study] = json.loads(partly.get(f"{BASE}/studies?includefield=all", JSON).body)
    assert study["00201206"]["Value"] == [1], "NumberOfStudyRelatedSeries"
    assert study["00201208"]["Value"] == [2], "NumberOfStudyRelatedInstances"
    assert study["00080061"]["Value"] == ["CT"], "ModalitiesInStudy"
    assert json.loads(partly.get(f"{BASE}/studies?ModalitiesInStudy=MR", JSON).body) == []
    first = partly.get(f"{BASE}/instances?limit=2", JSON)
    assert len(json.loads(first.body)) == 2
    assert first.header("warning") == "", "that a third instance exists is not said"
