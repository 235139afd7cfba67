"""QIDO-RS over HTTP: the six resources, what an answer carries, and what a refusal does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from gateway.dicomweb.qido import with_retrieve_url
from storage.database import Database
from storage.log.event import Kind
from tests.gateway.dicomweb.searchable import PUBLIC_URL, Searchable, open_searchable
from tests.storage.catalog_world import OTHER, uid

STUDY, SERIES = uid(1), uid(1, 1)


@pytest.fixture
async def gateway(tmp_path: Path, new_database: Callable[[str], Database]) -> AsyncIterator[Searchable]:
    async with open_searchable(tmp_path, new_database("sqlite"), search_limit=3) as opened:
        opened.world.add(1, instances=2)
        opened.world.grant("CITIZEN-1")
        yield opened


def rows(text: bytes) -> list[Dataset]:
    loaded = json.loads(text)
    assert all(list(row) == sorted(row) for row in loaded)
    return [Dataset.from_json(row) for row in loaded]


@pytest.mark.parametrize(
    ("path", "url", "count"),
    [
        ("/studies", f"studies/{STUDY}", 1),
        (f"/studies/{STUDY}/series", f"studies/{STUDY}/series/{SERIES}", 1),
        (f"/studies/{STUDY}/series/{SERIES}/instances", f"studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1", 2),
        (f"/studies/{STUDY}/instances", f"studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1", 2),
        ("/series", f"studies/{STUDY}/series/{SERIES}", 1),
        ("/instances", f"studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1", 2),
    ],
)
async def test_each_resource_answers_with_its_retrieve_url(
    gateway: Searchable, path: str, url: str, count: int
) -> None:
    response = await gateway.get("/dicom-web" + path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert response.headers["cache-control"] == "private, no-store"
    assert response.headers["vary"] == "Authorization, Accept"
    assert "warning" not in response.headers
    found = rows(response.content)
    assert len(found) == count
    assert found[0].RetrieveURL == f"{PUBLIC_URL}/dicom-web/{url}"


async def test_a_search_that_finds_nothing_is_an_empty_array(gateway: Searchable) -> None:
    for query in ("PatientID=nobody", "StudyInstanceUID=1.2.3", "offset=9"):
        response = await gateway.get(f"/dicom-web/studies?{query}")
        assert (response.status_code, response.content) == (200, b"[]")


async def test_forbidden_and_absent_answer_alike(gateway: Searchable) -> None:
    answers = set()
    for facility, number in ((OTHER, 1), (OTHER, 2), ("unheard-of", 1)):
        for path in (
            "studies",
            "series",
            "instances",
            f"studies/{uid(number)}/series",
            f"studies/{uid(number)}/instances",
        ):
            response = await gateway.get(f"/dicom-web/{path}?StudyInstanceUID={uid(number)}", facility=facility)
            headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
            answers.add((response.status_code, response.content, tuple(sorted(headers.items()))))
    assert len(answers) == 1


async def test_a_limit_is_kept_and_more_is_told(gateway: Searchable) -> None:
    for number in range(2, 6):
        gateway.world.add(number)
        gateway.world.grant(f"CITIZEN-{number}")
    for query, count in (("", 3), ("limit=2", 2), ("limit=1000000000", 3), ("limit=0", 0), ("offset=1&limit=3", 3)):
        response = await gateway.get(f"/dicom-web/studies?{query}")
        assert len(rows(response.content)) == count
        assert "additional results that can be requested" in response.headers["warning"]
        assert response.headers["warning"].startswith(f"299 {PUBLIC_URL}/dicom-web: ")
    response = await gateway.get("/dicom-web/studies?offset=3&limit=3")
    assert len(rows(response.content)) == 2
    assert "warning" not in response.headers


async def test_what_cannot_be_matched_is_said(gateway: Searchable) -> None:
    response = await gateway.get("/dicom-web/studies?PatientName=citizen*&fuzzymatching=true")
    assert len(rows(response.content)) == 1
    assert "fuzzymatching parameter is not supported. Only literal matching" in response.headers["warning"]
    response = await gateway.get("/dicom-web/studies?fuzzymatching=false&emptyvaluematching=true")
    assert "emptyvaluematching parameter is not supported" in response.headers["warning"]


MISUNDERSTOOD = (
    "PatientsName=x",
    "patientid=CITIZEN-1",
    "00100099=x",
    "00091002=x",
    "Modality=CT",
    "PatientID.=x",
    "limit=-1",
    "limit=ten",
    "limit=1&limit=2",
    "offset=-1",
    "StudyDate=2025",
    "StudyInstanceUID=1.2.*",
    "PatientID=%ff",
    "PatientID=%zz",
    "PatientID=a%00b",
    "PatientID=a&00100020=b",
    "fuzzymatching=maybe",
    "includefield=NoSuchKeyword",
    "PatientID=" + "x" * 401,
    "_=" + "x" * 17_000,
    "&".join(f"a{number}=1" for number in range(300)),
    "RequestAttributesSequence.ScheduledProcedureStepID=x",
)


async def test_a_query_that_cannot_be_understood_is_refused(gateway: Searchable) -> None:
    for query in MISUNDERSTOOD:
        response = await gateway.get(f"/dicom-web/studies?{query}")
        assert response.status_code == 400, query
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["detail"].endswith((".", "?"))
        assert "CITIZEN" not in problem["detail"]


async def test_a_parameter_that_is_no_attribute_is_ignored(gateway: Searchable) -> None:
    response = await gateway.get("/dicom-web/studies?_=1700000000&foo=bar&X=1&")
    assert len(rows(response.content)) == 1


async def test_a_path_that_holds_no_uid_is_refused(gateway: Searchable) -> None:
    for study in ("1.2.x", "%2e%2e", "1" * 65, "1..2", "1.2%00"):
        for rest in ("series", "instances", "series/1.2/instances"):
            assert (await gateway.get(f"/dicom-web/studies/{study}/{rest}")).status_code in {400, 404}


async def test_what_is_not_offered_is_not_acceptable(gateway: Searchable) -> None:
    for accept, status in (
        ("application/dicom+json", 200),
        ("application/json", 200),
        ("*/*", 200),
        ("application/dicom+json, multipart/related; type=application/octet-stream", 200),
        ("text/html", 406),
        ("application/dicom", 406),
    ):
        assert (await gateway.get("/dicom-web/studies", Accept=accept)).status_code == status, accept
    by_parameter = await gateway.get("/dicom-web/studies?accept=application/json", Accept="text/html")
    assert by_parameter.headers["content-type"] == "application/json"
    by_parameter = await gateway.get("/dicom-web/studies?accept=application/dicom%2Bjson", Accept="text/html")
    assert by_parameter.headers["content-type"] == "application/dicom+json"


async def test_a_search_without_credential_is_not_answered(gateway: Searchable) -> None:
    response = await gateway.client.get("/dicom-web/studies")
    assert response.status_code == 401


async def test_what_viewers_send_is_understood(gateway: Searchable) -> None:
    for query in (
        "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030",
        "PatientName=*izen*&00100020=*ITIZEN*&StudyDate=20240101-20251231",
        "PatientName=%2Aizen%5EJane&PatientID=CITIZEN%2D1",
        f"StudyInstanceUID={STUDY}%5C1.2.3",
        f"0020000d={STUDY}",
        "includefield=all&includefield=0008103e",
    ):
        response = await gateway.get(f"/dicom-web/studies?{query}")
        assert response.status_code == 200, response.text
        assert len(rows(response.content)) == 1, query


async def test_a_search_is_on_record_before_it_is_answered(gateway: Searchable) -> None:
    await gateway.get("/dicom-web/studies?PatientID=CITIZEN-1")
    (event,) = gateway.world.store.events(Kind.SEARCH)
    assert event.plain["rows"] == 1


def test_the_retrieve_url_stands_in_the_order_of_tags() -> None:
    for before, after in (("00080020", "0020000D"), ("00081110", "00081195"), ("0008103E", "00081199")):
        row = b'{"%b":{"vr":"LO"},\n"%b":{"vr":"LO"}}' % (before.encode(), after.encode())
        told = json.loads(with_retrieve_url(row, ("1.2", "1.2.3"), "https://x"))
        assert list(told) == [before, "00081190", after]
        assert told["00081190"]["Value"] == ["https://x/dicom-web/studies/1.2/series/1.2.3"]


async def walk(gateway: Searchable, between: Callable[[int], None]) -> list[str]:
    """As dicomweb-client walks: by offset, until a page is empty."""
    met: list[str] = []
    while True:
        page = rows((await gateway.get(f"/dicom-web/studies?limit=2&offset={len(met)}")).content)
        if not page:
            return met
        met += [row.StudyInstanceUID for row in page]
        between(len(met))


async def test_a_walk_meets_every_study_that_stays_once(gateway: Searchable) -> None:
    for number in range(2, 8):
        gateway.world.add(number, StudyDate=f"202501{number:02}")
        gateway.world.grant(f"CITIZEN-{number}")
    stays = [uid(1), *(uid(number) for number in range(6, 1, -1))]

    def disturb(met: int) -> None:
        gateway.world.add(100 + met, StudyDate=f"202506{met:02}")
        gateway.world.grant(f"CITIZEN-{100 + met}")
        gateway.world.set_study(uid(7), state="withdrawn")

    met = await walk(gateway, disturb)
    assert [study for study in met if study in stays] == stays
    assert len(set(met)) == len(met)


async def test_an_offset_that_follows_no_page_counts_rows(gateway: Searchable) -> None:
    for number in range(2, 6):
        gateway.world.add(number, StudyDate=f"202501{number:02}")
        gateway.world.grant(f"CITIZEN-{number}")
    whole = [row.StudyInstanceUID for row in rows((await gateway.get("/dicom-web/studies?limit=3")).content)]
    later = rows((await gateway.get("/dicom-web/studies?limit=2&offset=1")).content)
    assert [row.StudyInstanceUID for row in later] == whole[1:3]
    # the place where one facility's page ended says nothing to another
    gateway.world.grant("CITIZEN-2", facility=OTHER)
    assert rows((await gateway.get("/dicom-web/studies?limit=3&offset=3", facility=OTHER)).content) == []
