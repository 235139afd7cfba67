"""Several processes on one log: no gap, one sequencer, and what a killed one left open is closed once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from storage import schema
from storage.database import Database, sqlite_url
from storage.log.audit_log import AuditLog
from storage.log.entry import parse
from storage.log.event import AuditEvent, EventId, Kind
from storage.log.presence import Presence
from storage.sealing import KeyRing
from storage.tables import log_event, log_open
from tests.storage.log.events import NOW

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, home: Path, new_database: Callable[[str], Database]) -> Iterator[Database]:
    """A database that other processes open too."""
    if request.param == "postgresql":
        yield new_database("postgresql")
        return
    database = Database(sqlite_url(home / "data"))
    database.write(schema.install, "test-store")
    yield database
    database.close()


@pytest.fixture
def start(home: Path, shared: Database) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []
    url = "" if shared.is_sqlite else shared.url.render_as_string(hide_password=False)

    def run(name: str, what: str, count: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.storage.log.worker", str(home), name, what, str(count), url]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def presence(home: Path, shared: Database) -> Iterator[Presence]:
    presence = Presence(shared, home / "data")
    yield presence
    presence.close()


@pytest.fixture
def log(home: Path, shared: Database, presence: Presence) -> AuditLog:
    keys = KeyRing(home / "keys", data_dir=home / "data")
    return AuditLog(shared, keys, home / "data", node="here", process=presence.name, clock=lambda: NOW)


def sweep(log: AuditLog, presence: Presence) -> list[EventId]:
    return log.database.write(lambda tx: log.sweep(tx, lambda process: presence.alive(tx, process)))


def test_two_processes_append_and_sequence_without_a_gap(start: Start, log: AuditLog) -> None:
    workers = [start(name, "append", 400) for name in ("one", "two")]
    rounds = 0
    while any(worker.poll() is None for worker in workers):
        log.advance()
        rounds += 1
        threading.Event().wait(0.05)
    assert [worker.returncode for worker in workers] == [0, 0]
    head = log.advance()
    assert head is not None
    assert head.size == 800
    found = log.database.read(log.verify)
    assert (found.problems, found.size, found.waiting) == ((), 800, 0)
    places = log.database.read(lambda tx: tx.execute(select(log_event.c.node, log_event.c.seq)).all())
    for node in {place.node for place in places}:
        numbers = sorted(place.seq for place in places if place.node == node)
        assert numbers == list(range(1, len(numbers) + 1))


def test_intents_of_a_killed_process_are_closed_once(start: Start, log: AuditLog, presence: Presence) -> None:
    crashed, alive = start("crashed", "intents", 10), start("alive", "intents", 6)
    for process in (crashed, alive):
        assert process.stdout.readline() == "ready\n"
    log.database.write(log.append, AuditEvent(kind=Kind.RETRIEVE_INTENT, at=NOW, request="mine"))
    assert sweep(log, presence) == []
    crashed.kill()
    crashed.wait()
    sweepers = [start(f"sweeper{at}", "sweep") for at in range(2)]
    counts = [int(process.communicate(timeout=60)[0]) for process in sweepers]
    counts.append(len(sweep(log, presence)))
    assert sum(counts) == 5
    assert sweep(log, presence) == []
    left = log.database.read(lambda tx: sorted(row.request for row in tx.execute(select(log_open))))
    assert left == ["alive-3", "alive-4", "alive-5", "mine"]
    found = [log.database.read(log.read, place) for place in log.database.read(log.find, "patient", "HOSPITAL|crashed")]
    unknown = [event for event in found if event.kind is Kind.UNKNOWN_AFTER_CRASH]
    assert sorted(event.request for event in unknown) == [f"crashed-{at}" for at in range(5, 10)]
    # what is not known to have ended well is found under the study it was about
    assert unknown[0].subjects[1][0] == "study"


def test_an_outcome_that_comes_after_the_sweep_is_recorded_all_the_same(
    log: AuditLog, presence: Presence, shared: Database, home: Path
) -> None:
    gone = Presence(shared, home / "data")
    other = AuditLog(shared, log.keys, home / "data", node="gone", process=gone.name, clock=lambda: NOW)
    shared.write(other.append, AuditEvent(kind=Kind.RETRIEVE_INTENT, at=NOW, request="r"))
    assert sweep(log, presence) == []
    gone.close()
    assert len(sweep(log, presence)) == 1
    shared.write(other.append, AuditEvent(kind=Kind.RETRIEVE_OUTCOME, at=NOW, request="r"))
    assert shared.read(log.verify).ok


def test_what_was_acknowledged_survives_a_kill_at_any_moment(start: Start, log: AuditLog) -> None:
    rng = random.Random()
    acknowledged = set()
    for round_ in range(3):
        process = start(f"killed{round_}", "record")
        for _ in range(rng.randrange(20, 120)):
            acknowledged.add(process.stdout.readline().strip())
        process.kill()
        # the last line may be torn
        acknowledged.update(line for line in process.communicate()[0].split("\n")[:-1])
        log.advance()
        assert log.database.read(log.verify).problems == ()
    bodies = log.database.read(lambda tx: tx.execute(select(log_event.c.body)).scalars().all())
    recorded = {parse(bytes(body)).request for body in bodies}
    assert len(acknowledged) >= 60
    assert acknowledged <= recorded


def test_files_of_crashed_processes_are_taken_away(home: Path, sqlite_database: Database) -> None:
    (home / "data" / "processes").mkdir()
    (home / "data" / "processes" / "77-left").touch()
    one = Presence(sqlite_database, home / "data")
    other = Presence(sqlite_database, home / "data")
    assert {path.name for path in (home / "data" / "processes").iterdir()} == {one.name, other.name}
    assert other.alive(None, one.name)
    one.close()
    assert not other.alive(None, one.name)
    other.close()


def test_a_process_name_leads_nowhere_else(presence: Presence, shared: Database) -> None:
    for name in ("", ".", "..", "../keys/log.key", "/etc/passwd", "gone"):
        assert not shared.write(presence.alive, name)


async def test_two_servers_publish_one_log(start: Start, log: AuditLog) -> None:
    servers = [start(name, "serve") for name in ("one", "two")]
    for server in servers:
        assert server.stdout.readline() == "ready\n"
    for at in range(40):
        await log.record(AuditEvent(kind=Kind.SEARCH, at=NOW, request=f"r{at}"))
    published = log.data_dir / "log" / "checkpoint"
    for _ in range(600):
        if published.exists() and log.publisher.published()[0].size == 40:
            break
        threading.Event().wait(0.1)
    assert log.publisher.published()[0].size == 40
    servers[0].kill()
    await log.record(AuditEvent(kind=Kind.SEARCH, at=NOW, request="after the crash"))
    for _ in range(600):
        if log.publisher.published()[0].size == 41:
            break
        threading.Event().wait(0.1)
    assert log.publisher.published()[0].size == 41
    servers[1].communicate(timeout=60)
    assert servers[1].returncode == 0
    assert log.database.read(log.verify).ok
