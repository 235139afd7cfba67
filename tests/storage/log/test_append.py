from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, text

from storage.database import Database
from storage.errors import NotDurable
from storage.log.audit_log import AuditLog
from storage.log.entry import commitment, opening_context, parse, value_of
from storage.log.errors import EventRefused
from storage.log.event import AuditEvent, EventId, Kind
from storage.sealing import KeyRing
from storage.tables import log_event, log_node, log_open, log_opening, log_subject

NOW = 1_790_000_000_000_000


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    (tmp_path / "data").mkdir()
    return KeyRing(tmp_path / "keys", data_dir=tmp_path / "data")


@pytest.fixture
def log(database: Database, keys: KeyRing, tmp_path: Path) -> AuditLog:
    return AuditLog(database, keys, tmp_path / "data", node="n1", process="p1", clock=lambda: NOW)


def search(request: str = "r1") -> AuditEvent:
    return AuditEvent(
        kind=Kind.SEARCH,
        at=NOW,
        request=request,
        plain={"client": "facility-7", "matches": 2, "permitted": True, "reasons": ["consent", "policy"]},
        sealed={"patient": "HOSPITAL|MRN-1", "person": "Dr. Example"},
        subjects=[("patient", "HOSPITAL|MRN-1"), ("facility", "facility-7")],
    )


def bodies(tx: Connection) -> list[bytes]:
    return [bytes(row.body) for row in tx.execute(select(log_event.c.body).order_by(log_event.c.seq))]


def test_body_holds_commitments_and_no_identifier(log: AuditLog, database: Database, keys: KeyRing) -> None:
    place = database.write(log.append, search())
    (body,) = database.read(bodies)
    assert b"MRN-1" not in body
    assert b"Example" not in body
    facts = parse(body)
    assert (facts.kind, facts.node, facts.seq, facts.plain["client"]) == (Kind.SEARCH, place.node, 1, "facility-7")
    rows = database.read(lambda tx: tx.execute(select(log_opening)).all())
    opened = {row.field: keys.sealer.open(row.sealed, opening_context(row.node, row.seq, row.field)) for row in rows}
    assert value_of(opened["patient"]) == "HOSPITAL|MRN-1"
    assert value_of(opened["subjects"]) == ["patient:HOSPITAL|MRN-1", "facility:facility-7"]
    assert {field: commitment(field, opening) for field, opening in opened.items()} == facts.sealed


def test_equal_values_have_unequal_commitments(log: AuditLog, database: Database) -> None:
    database.write(log.append_many, [search(), search()])
    first, second = (parse(body).sealed for body in database.read(bodies))
    assert first["patient"] != second["patient"]


def test_an_event_and_its_act_are_one_transaction(log: AuditLog, database: Database) -> None:
    def act(tx: Connection) -> None:
        log.append(tx, search())
        raise RuntimeError("the act failed")

    with pytest.raises(RuntimeError):
        database.write(act)
    assert database.write(log.append, search()).seq == 1


def test_numbers_are_gapless_when_neighbours_in_a_commit_fail(log: AuditLog, database: Database) -> None:
    def fail(tx: Connection) -> None:
        log.append(tx, search())
        raise RuntimeError

    jobs = [database.submit(log.append, search()) if at % 3 else database.submit(fail) for at in range(60)]
    places = [job.result().seq for at, job in enumerate(jobs) if at % 3]
    assert places == list(range(1, 41))


async def test_record_is_durable_and_numbered_in_order(log: AuditLog, database: Database) -> None:
    places = await asyncio.gather(*(log.record(search(f"r{at}")) for at in range(300)))
    assert sorted(place.seq for place in places) == list(range(1, 301))
    assert [parse(body).seq for body in database.read(bodies)] == list(range(1, 301))
    assert database.read(lambda tx: tx.execute(select(log_node.c.seq)).scalar()) == 300


async def test_record_after_the_database_is_gone_is_not_durable(log: AuditLog, database: Database) -> None:
    database.close()
    with pytest.raises(NotDurable):
        await log.record(search())


async def test_an_event_that_cannot_be_written_fails_alone(log: AuditLog, database: Database) -> None:
    intent = AuditEvent(kind=Kind.RETRIEVE_INTENT, at=NOW, request="twice")
    events = [search(), intent, search(), intent, search()]
    answers = await asyncio.gather(*map(log.record, events), return_exceptions=True)
    assert [isinstance(answer, EventId) for answer in answers].count(True) == 4
    assert database.read(lambda tx: tx.execute(select(func.count()).select_from(log_event)).scalar()) == 4


async def test_a_cancelled_request_leaves_its_event(log: AuditLog, database: Database) -> None:
    tasks = [asyncio.create_task(log.record(search(f"r{at}"))) for at in range(20)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(database.read(bodies)) == 20


async def test_full_disk_refuses_and_what_was_acknowledged_stands(
    sqlite_database: Database, keys: KeyRing, tmp_path: Path
) -> None:
    log = AuditLog(sqlite_database, keys, tmp_path / "data", node="n1", process="p1", clock=lambda: NOW)
    await log.record(search())
    sqlite_database.write(lambda tx: tx.execute(text("PRAGMA max_page_count = 1")))
    answers = [
        answer
        for _ in range(10)
        for answer in await asyncio.gather(*(log.record(search()) for _ in range(30)), return_exceptions=True)
    ]
    acknowledged = sum(isinstance(answer, EventId) for answer in answers)
    assert sum(isinstance(answer, NotDurable) for answer in answers) == 300 - acknowledged > 0
    sqlite_database.write(lambda tx: tx.execute(text("PRAGMA max_page_count = 1000000")))
    assert (await log.record(search())).seq == acknowledged + 2


def test_open_intent_is_closed_by_its_outcome(log: AuditLog, database: Database) -> None:
    def open_requests(tx: Connection) -> list[tuple[str, str]]:
        return [(row.request, row.process) for row in tx.execute(select(log_open))]

    database.write(log.append, AuditEvent(kind=Kind.RETRIEVE_INTENT, at=NOW, request="a"))
    database.write(log.append, AuditEvent(kind=Kind.RETRIEVE_INTENT, at=NOW, request="b"))
    database.write(log.append, AuditEvent(kind=Kind.RETRIEVE_OUTCOME, at=NOW, request="a"))
    assert database.read(open_requests) == [("b", "p1")]


def test_subject_rows_are_keyed_hashes(log: AuditLog, database: Database, keys: KeyRing) -> None:
    database.write(log.append, search())
    rows = database.read(lambda tx: {bytes(row.subject) for row in tx.execute(select(log_subject))})
    assert rows == {keys.subject("patient", "HOSPITAL|MRN-1"), keys.subject("facility", "facility-7")}


@pytest.mark.parametrize(
    "event",
    [
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", plain={"share": 0.5}),
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", plain={"count": 2**53}),
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", plain={"Größe": 1}),
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", sealed={"subjects": "x"}),
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", sealed={"patient": "\ud800"}),
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", subjects=[("dog", "Rex")]),
        AuditEvent(kind=Kind.SEARCH, at=NOW, request="r", plain={"list": ["x" * 70_000]}),
    ],
)
def test_what_has_no_written_form_is_refused(log: AuditLog, database: Database, event: AuditEvent) -> None:
    with pytest.raises(EventRefused):
        database.write(log.append, event)
    assert database.read(bodies) == []


def test_two_nodes_write_side_by_side(new_database: Callable[[str], Database], keys: KeyRing, tmp_path: Path) -> None:
    database = new_database("postgresql")
    logs = [
        AuditLog(database, keys, tmp_path / "data", node=f"n{at}", process=f"p{at}", clock=lambda: NOW) for at in (1, 2)
    ]
    places = [database.write(logs[at % 2].append, search()) for at in range(10)]
    assert [(place.node, place.seq) for place in places[-2:]] == [("n1", 5), ("n2", 5)]
