"""What cannot be recorded is not sent, not shown and not refused either: 503, and nothing of a patient (law 6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pysqlite3.dbapi2 as sqlite3
import pytest

from tests.story.hospital import Facility, Hospital
from tests.story.images import ARCHIBALD_STUDY, PETER, PETER_STUDY, sample_files
from tests.story.wire import Answer, Line
from tests.story.world import JSON, Named, World, named_in

PETERS, OTHERS = named_in(sample_files(PETER_STUDY)[0]), named_in(sample_files(ARCHIBALD_STUDY)[0])


@pytest.fixture
def session(home: Hospital) -> Iterator[tuple[Hospital, Facility, Line]]:
    home.hold([*sample_files(PETER_STUDY), *sample_files(ARCHIBALD_STUDY)])
    facility = home.facility()
    home.consent(facility, PETER, studies=[PETER_STUDY])
    server = home.serve()
    with World(hospital=home, server=server).line(facility) as line:
        yield home, facility, line


def run(home: Hospital, statement: str) -> None:
    with closing(sqlite3.connect(home.data / "openpriors.db", timeout=10)) as database:
        database.execute(statement)
        database.commit()


NOT_THERE = ("/frames/999", "/bulkdata/00091002")  # of an image that may be seen, its absence is no disclosure


def ask_all(line: Line, one: Named) -> list[Answer]:
    asked = [*one.retrieves(), *one.searches()]
    return [line.get(path, accept) for path, accept in asked if not path.endswith(NOT_THERE)]


def test_while_the_record_takes_nothing_nothing_is_sent(session: tuple[Hospital, Facility, Line]) -> None:
    home, facility, line = session
    run(home, "CREATE TRIGGER full BEFORE INSERT ON log_event BEGIN SELECT RAISE(ABORT, 'it is full'); END")
    told = {named: ask_all(line, named) for named in (PETERS, OTHERS, OTHERS.absent)}
    for answers in told.values():
        assert {answer.status for answer in answers} == {503}
        assert all(answer.header("retry-after") for answer in answers)
    assert len({answer.features for answers in told.values() for answer in answers}) == 1, "one answer for all"
    before = len(home.events("facility", facility.client_id))
    run(home, "DROP TRIGGER full")
    assert line.get(f"/dicom-web/studies?StudyInstanceUID={PETERS.study}", JSON).status == 200
    assert {answer.status for answer in ask_all(line, PETERS)} == {200}, "it serves again by itself"
    assert len(home.events("facility", facility.client_id)) > before
