"""Searches of every kind over a made-up store: exactly what was granted and matches, in every page and count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
from pydicom.dataset import Dataset

from storage.model import Level, Query
from tests.storage.catalog_world import World, query_of, read_object, uid
from tests.storage.opened_store import Store

MODALITIES = ("CT", "MR", "US")
PATIENTS, STUDIES = 5, 14


@dataclass(frozen=True)
class Shelved:
    """One stored series, and whether the clinic may see it."""

    study: int
    series: int
    modality: str | None
    instances: int
    date: str | None
    patient: str
    visible: bool


def fill(world: World, random: Random) -> list[Shelved]:
    """Studies of a few patients; some granted whole, some by modality, some from a date, some with a refusal."""
    narrowed = {
        "P-0": lambda _series: False,
        "P-1": lambda _series: True,
        "P-2": lambda one: one[0] == "CT",
        "P-3": lambda one: one[1] is not None and one[1] >= "20250110",
        "P-4": lambda one: one[0] not in {None, "MR"},
    }
    world.grant("P-1")
    world.grant("P-2", modality="CT")
    world.grant("P-3", study_from="20250110")
    world.grant("P-4")
    world.deny("P-4", modality="MR")
    shelf = []
    for study in range(1, STUDIES + 1):
        patient = f"P-{random.randrange(PATIENTS)}"
        date = random.choice([None, *(f"202501{day:02}" for day in range(8, 13))])
        for series in range(1, random.randint(2, 4)):
            modality, instances = random.choice([*MODALITIES, None]), random.randint(1, 3)
            world.add(study, series, instances, PatientID=patient, StudyDate=date, Modality=modality)
            visible = narrowed[patient]((modality, date))
            shelf.append(Shelved(study, series, modality, instances, date, patient, visible))
    return shelf


def random_query(random: Random, level: Level) -> tuple[Query, Callable[[Shelved], bool]]:
    """A query, and which series it matches; of ModalitiesInStudy that is said for the study elsewhere."""
    patient = random.choice([None, "P-1", "P-?", "*", "", "P-2", "*-3", "[P]*", "P-%"])
    first, last = random.choice([None, "20250109"]), random.choice([None, "20250111"])
    asked: dict[str, object] = {}
    if patient is not None:
        asked["PatientID"] = patient
    if first or last:
        asked["StudyDate"] = f"{first or ''}-{last or ''}"
    if random.random() < 0.3:
        asked["StudyInstanceUID"] = ",".join(uid(random.randint(1, STUDIES)) for _ in range(6))
    if random.random() < 0.3:
        asked["PatientName"] = random.choice(["citizen*", "*JANE", "citizen^jane", "*"])
    if random.random() < 0.3:
        asked["include_all"] = True

    def matches(one: Shelved) -> bool:
        named = {None: True, "": True, "*": True, "P-?": True, "[P]*": False, "P-%": False, "*-3": one.patient == "P-3"}
        return (
            named.get(patient, one.patient == patient)
            and (first is None or (one.date is not None and one.date >= first))
            and (last is None or (one.date is not None and one.date <= last))
            and ("StudyInstanceUID" not in asked or uid(one.study) in str(asked["StudyInstanceUID"]).split(","))
        )

    return query_of(level, **asked), matches


def resources(level: Level, one: Shelved) -> list[tuple[str, ...]]:
    if level is Level.STUDY:
        return [(uid(one.study),)]
    if level is Level.SERIES:
        return [(uid(one.study), uid(one.study, one.series))]
    numbers = range(1, one.instances + 1)
    return [(uid(one.study), uid(one.study, one.series), uid(one.study, one.series, number)) for number in numbers]


def check_counts(row: Dataset, seen: list[Shelved]) -> None:
    """Every number that a row tells comes from series that the clinic may see."""
    of_study = [one for one in seen if uid(one.study) == row.StudyInstanceUID]
    modalities = sorted({one.modality for one in of_study if one.modality})
    told = row.get("ModalitiesInStudy", [])
    assert ([told] if isinstance(told, str) else list(told)) == modalities
    assert row.NumberOfStudyRelatedSeries == len(of_study)
    assert row.NumberOfStudyRelatedInstances == sum(one.instances for one in of_study)
    if "SeriesInstanceUID" in row:
        (series,) = [one for one in of_study if uid(one.study, one.series) == row.SeriesInstanceUID]
        assert row.NumberOfSeriesRelatedInstances == series.instances


@pytest.mark.parametrize("seed", range(3))
def test_every_search_finds_what_is_granted_and_nothing_else(store: Store, seed: int) -> None:
    random = Random(seed)
    world = World(store)
    shelf = fill(world, random)
    seen = [one for one in shelf if one.visible]
    assert seen
    assert len(seen) < len(shelf)
    for number in range(60):
        level = list(Level)[number % 3]
        query, matches = random_query(random, level)
        wanted = {resource for one in seen if matches(one) for resource in resources(level, one)}
        whole = world.find(query)
        assert set(whole.uids) == wanted, query
        assert len(whole.uids) == len(wanted)
        assert set(whole.patients) == {f"{one.patient}^^^LOCAL" for one in seen if matches(one)}
        for row in whole.objects:
            check_counts(read_object(row), seen)
        check_pages(world, query, list(whole.uids))


def check_pages(world: World, query: Query, whole: list[tuple[str, ...]]) -> None:
    """Walking through pages gives the same rows, and `more` exactly while a visible row is left."""
    step = 4
    for offset in range(0, len(whole) + step, step):
        page = world.find(
            Query(level=query.level, match=query.match, include_all=query.include_all, limit=step, offset=offset)
        )
        assert list(page.uids) == whole[offset : offset + step]
        assert page.more == (len(whole) > offset + step)
