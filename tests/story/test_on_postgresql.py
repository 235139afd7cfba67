"""The story where the database is a server: what is decided there holds in every process, or nothing is sent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.conftest import _run_sql
from tests.story.conftest import RUNNING
from tests.story.hospital import Facility, Hospital, Server
from tests.story.images import PETER, PETER_STUDY, large_study, sample_files, study_uid
from tests.story.revocation import PausedReader, Reader, SlowReader
from tests.story.wire import Line, parts_of
from tests.story.world import AS_STORED, BASE, FRAMES_AS_STORED, JSON, named_in

pytestmark = pytest.mark.needs("postgresql")
LARGE, LARGE_PATIENT = study_uid(70), "LARGE-PG"
ONE = named_in(sample_files(PETER_STUDY)[0])


@pytest.fixture(scope="module")
def database(postgresql_server: str) -> str:
    name = f"story{os.getpid()}_{os.urandom(4).hex()}"
    _run_sql(postgresql_server + "postgres", f"CREATE DATABASE {name}")
    return postgresql_server + name


@pytest.fixture(scope="module")
def nodes(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hospital, list[Server]]]:
    """Two nodes on one database and one data directory."""
    hospital = Hospital(tmp_path_factory.mktemp("postgresql") / "hospital", database)
    RUNNING.append(hospital)
    hospital.hold([*sample_files(PETER_STUDY), *large_study(LARGE_PATIENT, 70, instances=16)])
    yield hospital, [hospital.serve(), hospital.serve()]
    RUNNING.remove(hospital)
    hospital.close()


@pytest.fixture
def facility(nodes: tuple[Hospital, list[Server]]) -> Facility:
    return nodes[0].facility()


def start_readers(nodes: tuple[Hospital, list[Server]], facility: Facility) -> list[Reader]:
    """A slow and a paused reader at each node."""
    kinds: list[Callable[..., Reader]] = [SlowReader, PausedReader]
    started = [
        kind(f"{kind.__name__} {server.port}", line, f"{BASE}/studies/{LARGE}", AS_STORED)  # type: ignore[attr-defined]
        for server in nodes[1]
        for kind in kinds
        for line in [Line(port=server.port, token=facility.token(server.url))]
    ]
    for reader in started:
        reader.start()
    for reader in started:
        assert reader.flows.wait(60), reader.reading
    return started


def assert_cut(hospital: Hospital, facility: Facility, started: list[Reader]) -> None:
    for reader in started:
        reader.note_end()
    for reader in started:
        reader.join(30)
        assert not reader.reading.is_whole, reader.reading
        assert hospital.outcome_of(facility, reader.reading.request).plain["outcome"] == "revoked"


def test_the_story_on_two_nodes(nodes: tuple[Hospital, list[Server]], facility: Facility) -> None:
    hospital, servers = nodes
    consent = hospital.consent(facility, PETER, studies=[PETER_STUDY])
    lines = [Line(port=server.port, token=facility.token(server.url)) for server in servers]
    stored = sorted(path.read_bytes() for path in sample_files(PETER_STUDY))
    for line in lines:
        parts = parts_of(line.get(ONE.study_path, AS_STORED))
        assert sorted(body for _, body in parts) == stored
        assert line.get(ONE.path + "/frames/1", FRAMES_AS_STORED).status == 200
    hospital.command("consent", "revoke", consent, "--reason", "the patient changed their mind")
    for line in lines:
        for (path, accept), (absent, _) in zip(ONE.retrieves(), ONE.absent.retrieves(), strict=True):
            assert line.get(path, accept).features == line.get(absent, accept).features, path
        assert line.get(f"{BASE}/studies", JSON).body == b"[]"
        line.close()


def test_a_revocation_cuts_the_downloads_of_every_node(
    nodes: tuple[Hospital, list[Server]], facility: Facility
) -> None:
    hospital, _ = nodes
    consent = hospital.consent(facility, LARGE_PATIENT)
    started = start_readers(nodes, facility)
    hospital.command("consent", "revoke", consent, "--reason", "the patient changed their mind")
    assert_cut(hospital, facility, started)


def test_downloads_end_when_the_database_answers_nothing_at_all(
    nodes: tuple[Hospital, list[Server]], facility: Facility, database: str
) -> None:
    """It accepts what it is asked and never answers, as over a network that is gone."""
    hospital, _ = nodes
    hospital.consent(facility, LARGE_PATIENT)
    started = start_readers(nodes, facility)
    address = database.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address) as connection:
        connection.execute("LOCK TABLE epoch IN ACCESS EXCLUSIVE MODE")
        ended = threading.Event()

        def give_back() -> None:
            ended.wait(20)
            connection.rollback()

        waiting = threading.Thread(target=give_back)
        waiting.start()
        for reader in started:
            reader.note_end()
        began = time.monotonic()
        for reader in started:
            reader.join(15)
        silent_s = time.monotonic() - began
        still = [reader.name for reader in started if reader.is_alive()]
        ended.set()
        waiting.join()
    assert still == [], f"they went on for {silent_s:.1f} s without an answer"
    assert_cut(hospital, facility, started)
    wait_until_it_serves(nodes, facility)


def wait_until_it_serves(nodes: tuple[Hospital, list[Server]], facility: Facility) -> None:
    for server in nodes[1]:
        with Line(port=server.port, token=facility.token(server.url)) as line:
            assert line.get(f"{BASE}/studies", JSON).status == 200
