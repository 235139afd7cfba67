"""Patient data stand in answers to those who may have them, and in nothing else that the gateway says (law 11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pydicom
import pysqlite3.dbapi2 as sqlite3
import pytest
from pydicom import config
from pydicom.data import get_testdata_file

from tests.story.hospital import Hospital, Server
from tests.story.images import as_file
from tests.story.wire import Answer, Line
from tests.story.world import AS_STORED, BASE, CANARY, CANARY_NAME, JSON, MIXED, mixed_images, named_in

CANARIES = (CANARY, "Zyxwvut", "Quetzal", "ZYXWVUT", "zyxwvut", "CITIZEN", "19700101")
ONE = named_in(mixed_images()[0])


def assert_silent(text: str, token: str = "") -> None:
    for word in CANARIES:
        assert word not in text
    assert not token or token not in text


@pytest.fixture
def served(home: Hospital) -> Iterator[tuple[Hospital, Server, Line]]:
    """A gateway of its own with the canary's study, and a facility that may have it."""
    home.hold(mixed_images())
    facility = home.facility()
    home.consent(facility, CANARY)
    server = home.serve()
    with Line(port=server.port, token=facility.token(server.url)) as line:
        yield home, server, line


def searches() -> Iterator[str]:
    name = quote(CANARY_NAME)
    for level in ("studies", "series", "instances"):
        yield f"{BASE}/{level}?PatientName={name}"
        yield f"{BASE}/{level}?PatientID={CANARY}&PatientBirthDate=19700101"
        yield f"{BASE}/{level}?PatientName={name}&StudyDate={name}"  # cannot be read
        yield f"{BASE}/{level}?{name}={CANARY}"  # no attribute
        yield f"{BASE}/{level}?PatientID={CANARY}&PatientID={CANARY}"
        yield f"{BASE}/{level}?PatientID={CANARY}&limit={CANARY}"
        yield f"{BASE}/{level}?00100010={name}&includefield={name}"
        yield f"{BASE}/{name}/{level}"
    yield f"{BASE}/studies/{name}"
    yield f"{BASE}/studies/{ONE.study}/series/{name}"
    yield f"{BASE}/studies/{ONE.study}/series/{ONE.series}/instances/{name}/frames/{name}"
    yield f"{ONE.path}/bulkdata/{name}"
    yield f"/{name}"


def test_no_error_and_no_log_line_repeats_what_was_asked_for(served: tuple[Hospital, Server, Line]) -> None:
    _, server, line = served
    for path in searches():
        for accept in (JSON, AS_STORED, CANARY):
            for method in ("GET", "HEAD", "POST", "OPTIONS"):
                answer = line.ask(method, path, accept, X_Patient=CANARY)
                if answer.status != 200:
                    assert_silent(repr(answer))
    with Line(port=server.port, token="not.a.token") as other:
        assert_silent(repr(other.get(f"{BASE}/studies?PatientID={CANARY}", JSON)))
    server.stop()
    assert_silent(server.said(), line.token)
    assert line.token.rpartition(".")[2] not in server.said(), "nor its signature"


def test_an_error_that_nobody_foresaw_tells_the_log_where_and_not_of_whom(
    served: tuple[Hospital, Server, Line],
) -> None:
    """A database that loses a table while it is served: the error that follows carries the statement's values."""
    home, server, line = served
    break_searches(home)
    answers: list[Answer] = [
        line.get(path, JSON) for path in (f"{BASE}/studies?PatientName={quote(CANARY_NAME)}&PatientID={CANARY}",)
    ]
    with Line(port=server.port, token=line.token) as other:
        answers.append(other.get(ONE.study_path, AS_STORED))
    assert [answer.status for answer in answers] == [500, 500]
    for answer in answers:
        assert_silent(repr(answer))
        assert json.loads(answer.body)["status"] == 500
        assert answer.header("x-request-id") in server.said(), "the operator finds it by its id"
    server.stop()
    assert_silent(server.said(), line.token)
    assert MIXED not in server.said()
    assert "OperationalError" in server.said()
    assert "catalog.py" in server.said(), "where it happened is said"


def break_searches(home: Hospital) -> None:
    database = sqlite3.connect(home.data / "openpriors.db", timeout=10)
    database.execute("ALTER TABLE instance RENAME TO instance_away")
    database.execute("ALTER TABLE series RENAME TO series_away")
    database.commit()
    database.close()


def test_converting_an_image_with_odd_values_warns_nobody_of_them(served: tuple[Hospital, Server, Line]) -> None:
    home, server, line = served
    odd = odd_image()
    home.hold([odd])
    answer = line.get(named_in(odd).path, 'multipart/related; type="application/dicom"')
    assert CANARY_NAME.encode() in answer.body, "it was converted, with its values"
    assert answer.body != odd
    server.stop()
    assert_silent(server.said())


def odd_image() -> bytes:
    """An image in Big Endian, each of whose values is read to be turned, and not all of which are what they should."""
    data_set = pydicom.dcmread(str(get_testdata_file("MR_small_bigendian.dcm")))
    data_set.PatientID, data_set.PatientComments = CANARY, CANARY_NAME
    with config.disable_value_validation():
        data_set.PatientBirthTime = f"{CANARY} at noon"
        data_set.InstanceCreatorUID = f"{CANARY}.1"
        return as_file(data_set)


def test_urls_of_the_gateway_hold_uids_alone(served: tuple[Hospital, Server, Line]) -> None:
    _, server, line = served
    said = [
        line.get(f"{BASE}/studies?PatientID={CANARY}&includefield=all", JSON),
        line.get(f"{ONE.study_path}/metadata", JSON),
        line.get(ONE.study_path, AS_STORED),
    ]
    for answer in said:
        for url in answer.body.split(server.url.encode())[1:]:
            address = url.split(b'"')[0].split(b"\r\n")[0].decode("latin-1")
            assert_silent(address)
            assert "?" not in address
        for field in answer.fields:
            assert_silent(repr(field))
