"""The first story: a facility with consent finds and gets exactly what was allowed, another finds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import generate_frames

from tests.story.images import PETER, PETER_STUDY, sample_files
from tests.story.wire import Answer, Line, parts_of
from tests.story.world import (
    AS_STORED,
    BASE,
    FRAMES_AS_STORED,
    JSON,
    ONE_AS_STORED,
    World,
    dataset_of,
    frame_files,
    named_in,
)

FILES = [(path.read_bytes(), named_in(path)) for path in sample_files(PETER_STUDY)]


@pytest.fixture(scope="module")
def allowed(world: World) -> Iterator[Line]:
    """A connection of the facility that may have Peter's CT study."""
    facility, line = world.facility()
    world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    with line:
        yield line


def found(answer: Answer, tag: str = "0020000D") -> set[str]:
    """The values of an attribute in the rows of a search."""
    assert answer.status == 200, answer
    return {row[tag]["Value"][0] for row in json.loads(answer.body)}


@pytest.mark.parametrize(
    "query",
    ["", "?PatientID=98890234", "?PatientName=Doe*", "?StudyDate=20010101", "?ModalitiesInStudy=CT", "?limit=1000"],
)
def test_a_search_finds_the_consented_study_and_nothing_else(allowed: Line, query: str) -> None:
    assert found(allowed.get(f"{BASE}/studies{query}", JSON)) == {PETER_STUDY}


def test_series_and_instances_of_other_studies_are_in_no_search(allowed: Line) -> None:
    assert found(allowed.get(f"{BASE}/series"), "0020000E") == {one.series for _, one in FILES}
    assert found(allowed.get(f"{BASE}/instances"), "00080018") == {one.instance for _, one in FILES}
    assert found(allowed.get(f"{BASE}/studies/{PETER_STUDY}/series"), "0020000E") == {one.series for _, one in FILES}
    [study] = json.loads(allowed.get(f"{BASE}/studies").body)
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [7])


def test_a_facility_without_consent_finds_an_empty_list(world: World) -> None:
    with world.facility("Hilltop Imaging")[1] as line:
        for path in (f"{BASE}/studies", f"{BASE}/series", f"{BASE}/instances", f"{BASE}/studies?PatientID={PETER}"):
            answer = line.get(path, JSON)
            assert (answer.status, answer.body) == (200, b"[]")


def test_a_study_arrives_as_it_is_stored(allowed: Line) -> None:
    parts = parts_of(allowed.get(f"{BASE}/studies/{PETER_STUDY}", AS_STORED))
    assert sorted(sha256(body).digest() for _, body in parts) == sorted(sha256(file).digest() for file, _ in FILES)


def test_each_series_and_each_instance_arrives_as_it_is_stored(allowed: Line) -> None:
    for series in {one.series for _, one in FILES}:
        path = f"{BASE}/studies/{PETER_STUDY}/series/{series}"
        bodies = {body for _, body in parts_of(allowed.get(path, AS_STORED))}
        assert bodies == {file for file, one in FILES if one.series == series}
    for file, one in FILES:
        assert allowed.get(one.path, ONE_AS_STORED).body == file
        assert [body for _, body in parts_of(allowed.get(one.path, AS_STORED))] == [file]


def test_metadata_says_what_pydicom_reads(allowed: Line) -> None:
    for path in (f"{BASE}/studies/{PETER_STUDY}", *{one.series_path for _, one in FILES}, FILES[0][1].path):
        for described in json.loads(allowed.get(f"{path}/metadata", JSON).body):
            read = pydicom.Dataset.from_json(described, bulk_data_uri_handler=lambda _: None)
            stored = next(dataset_of(file) for file, one in FILES if one.instance == read.SOPInstanceUID)
            for element in stored:
                if element.VR not in {"OB", "OW", "UN", "SQ"} and not element.is_empty:
                    assert read[element.tag].value == element.value, element.tag


@pytest.mark.parametrize("file", frame_files(), ids=lambda path: path.stem)
def test_frames_are_the_bytes_that_pydicom_reads(world: World, file: Path) -> None:
    stored, one = dataset_of(file), named_in(file)
    facility, line = world.facility()
    world.hospital.consent(facility, stored.PatientID)
    count = int(stored.get("NumberOfFrames", 1))
    wanted = ",".join(str(number) for number in range(count, 0, -1))
    with line:
        parts = parts_of(line.get(f"{one.path}/frames/{wanted}", FRAMES_AS_STORED))
        alone = line.get(f"{one.path}/frames/{count}", "application/octet-stream; transfer-syntax=*")
    frames = frames_of(stored, count)
    assert [body for _, body in parts] == frames[::-1]
    assert alone.body == frames[-1]


def frames_of(stored: pydicom.Dataset, count: int) -> list[bytes]:
    syntax = stored.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        return list(generate_frames(stored.PixelData, number_of_frames=count))
    pixels = stored.pixel_array.astype(stored.pixel_array.dtype.newbyteorder("<")).tobytes()
    size = len(pixels) // count
    return [pixels[n * size : (n + 1) * size] for n in range(count)]
