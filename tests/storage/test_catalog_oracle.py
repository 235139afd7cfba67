"""Our searches against those of dicomweb-client's DICOMfileClient, over the same real files."""

from __future__ import annotations

import json
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client.api import DICOMfileClient

from storage.model import Level
from storage.tables import patient
from tests.storage.catalog_world import World, query_of, tag
from tests.storage.opened_store import Store
from tests.storage.sample_files import installed

# DICOMfileClient indexes no AccessionNumber, and cannot read one file whose SeriesNumber is `1A`
STUDY_KEYS = ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "StudyID", "PatientSex")
STUDY_TOLD = (
    *STUDY_KEYS,
    "ReferringPhysicianName",
    "PatientBirthDate",
    "NumberOfStudyRelatedSeries",
    "ModalitiesInStudy",
)
SERIES_KEYS = ("SeriesInstanceUID", "Modality", "SeriesNumber")
INSTANCE_KEYS = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")
INSTANCE_TOLD = (*INSTANCE_KEYS, "Rows", "Columns", "BitsAllocated")
UNREADABLE = "999.999.99.9.9999.8888"

Rows = dict[str, dict[str, Any]]


@pytest.fixture
def world(sqlite_store: Store) -> World:
    """Every readable file of pydicom and pydicom-data, and a facility that may see all of them."""
    sqlite_store.store(*(path.read_bytes() for path in installed()))
    world = World(sqlite_store)
    for row in sqlite_store.rows(patient):
        world.grant(row["patient_id"], issuer=row["issuer"])
    return world


@pytest.fixture
def oracle(world: World, tmp_path: Path) -> DICOMfileClient:
    folder = tmp_path / "files"
    folder.mkdir()
    located = [world.locate(*uids) for uids in world.find(query_of(Level.STUDY, limit=1000)).uids]
    for number, ref in enumerate(ref for one in located for ref in one.instances):
        (folder / f"{number}.dcm").write_bytes(world.store.read_back(ref.sop_instance_uid))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's about the files
        return DICOMfileClient(f"file://{folder}", in_memory=True, update_db=True)


def values(row: dict[str, Any], keyword: str) -> list[Any]:
    found = [value for value in row.get(tag(keyword), {}).get("Value", []) if value not in (None, "")]
    return sorted(found) if keyword == "ModalitiesInStudy" else found


def ours(world: World, level: Level, **asked: str) -> Rows:
    found = world.find(query_of(level, limit=1000, **asked))
    return {uids[-1]: json.loads(row) for uids, row in zip(found.uids, found.objects, strict=True)}


def compare(world: World, search: Any, level: Level, keys: tuple[str, ...], told: tuple[str, ...]) -> int:
    """Same rows, same attributes, and the same rows for every value of every key; gives how many were compared."""
    unique = tag(keys[0])
    theirs = {row[unique]["Value"][0]: row for row in search()}
    rows = ours(world, level)
    assert {uid for uid in rows if UNREADABLE not in json.dumps(rows[uid])} == {
        uid for uid in theirs if UNREADABLE not in json.dumps(theirs[uid])
    }
    for uid in rows.keys() & theirs.keys():
        for keyword in told:
            assert values(rows[uid], keyword) == values(theirs[uid], keyword), (uid, keyword)
    compared = 0
    for keyword in keys:
        for value in sorted({name_or_text(one) for row in theirs.values() for one in values(row, keyword)}):
            if set(value) & set("*?%_\\,=") or value.endswith("^") or not value.isascii():
                continue  # the reference compares a name as one text, groups and carets at its end included
            for asked in (value, *wildcards(keyword, value)):
                found = search(search_filters={keyword: asked})
                expected = {row[unique]["Value"][0] for row in found if keeps_case(row, keyword, asked)}
                same = ours(world, level, **{keyword: asked}).keys() & theirs.keys()
                # a time without seconds means the whole minute here, and its own text there
                assert same >= expected if keyword == "StudyTime" else same == expected, (keyword, asked)
                compared += 1
    return compared


def name_or_text(value: Any) -> str:
    return "=".join(value.values()) if isinstance(value, dict) else str(value)


def keeps_case(row: dict[str, Any], keyword: str, pattern: str) -> bool:
    """The reference matches every wildcard without regard to case; the standard, only person names (C.2.2.2.4)."""
    return keyword == "PatientName" or fnmatchcase(name_or_text(values(row, keyword)[0]), pattern)


def wildcards(keyword: str, value: str) -> list[str]:
    if keyword not in {"PatientID", "PatientName", "StudyID"} or len(value) < 4:
        return []
    return [f"{value[:3]}*", f"*{value[2:]}", value[:1] + "?" + value[2:]]


def test_searches_find_what_the_reference_client_finds(world: World, oracle: DICOMfileClient) -> None:
    assert compare(world, oracle.search_for_studies, Level.STUDY, STUDY_KEYS, STUDY_TOLD) > 150
    assert compare(world, oracle.search_for_series, Level.SERIES, SERIES_KEYS, SERIES_KEYS) > 50
    assert compare(world, oracle.search_for_instances, Level.INSTANCE, INSTANCE_KEYS, INSTANCE_TOLD) > 100
