"""How a search becomes a statement: built once for each form, one plan or the other, the same answer."""

from __future__ import annotations

from random import Random

import pytest
from sqlalchemy import Connection, bindparam, select

from storage.catalog_rows import layout_of
from storage.catalog_statement import Prepared
from storage.model import Level, Query
from storage.query import Understood, count_permits, search_statement, understand
from storage.tables import study
from tests.storage.catalog_world import World, query_of, statements_of, uid
from tests.storage.opened_store import Store
from tests.storage.test_catalog_leaks import fill, random_query


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def understood(query: Query) -> Understood:
    return understand(query, layout_of(query))


def test_both_plans_give_the_same_rows(world: World) -> None:
    random = Random(7)
    fill(world, random)
    visible = world.visible()

    def rows(tx: Connection, query: Query, *, from_permits: bool) -> list[tuple]:
        asked = understood(query)
        statement = search_statement(asked.form, visible.visibility, tx.dialect, from_permits=from_permits)
        return [tuple(row) for row in statement.rows(tx, {**visible.parameters, **asked.parameters(tx.dialect.name)})]

    some = 0
    for number in range(30):
        query, _ = random_query(random, list(Level)[number % 3])
        read = world.store.database.read
        one = [read(rows, query, from_permits=from_permits) for from_permits in (True, False)]
        assert sorted(map(str, one[0])) == sorted(map(str, one[1]))
        some += len(one[0])
    assert some


def test_searches_of_one_form_share_their_statement(world: World) -> None:
    world.add(1)
    world.grant("CITIZEN-1")
    with statements_of(world) as ran:
        for text in ("CITIZEN-1", "nobody", "'; --", "%", "x" * 300):
            world.numbers(PatientID=text)
        for text in ("1*", "2?3", "%*"):
            world.numbers(StudyDescription=text)
        for uids in (uid(1), uid(2)):
            world.numbers(StudyInstanceUID=f"{uids},1.2.3")
    assert len(ran) == 5 + 2 * 3 + 2
    assert len(set(ran)) == 4
    assert not any("CITIZEN" in text or "--" in text for text in ran)


def test_a_selective_key_needs_no_look_at_the_permits(world: World) -> None:
    for keys, runs in (
        ({"PatientID": "x"}, 1),
        ({"AccessionNumber": "x"}, 1),
        ({"StudyInstanceUID": "1.2\\1.3"}, 1),
        ({"study_instance_uid": "1.2"}, 1),
        ({"PatientID": "x*"}, 2),
        ({"PatientName": "x"}, 2),
        ({}, 2),
    ):
        with statements_of(world) as ran:
            world.numbers(**keys)
        assert len(ran) == runs, keys


INDEXED = [
    (query_of(Level.STUDY, PatientID="x"), False, "study USING INDEX ix_study_patient_id (patient_id=?)"),
    (
        query_of(Level.STUDY, AccessionNumber="x"),
        False,
        "study USING INDEX ix_study_accession_number (accession_number=?)",
    ),
    (
        query_of(Level.STUDY, StudyInstanceUID="1.2,1.3"),
        False,
        "study USING INDEX sqlite_autoindex_study_1 (study_instance_uid=?)",
    ),
    (
        query_of(Level.STUDY, PatientName="a*"),
        False,
        "study USING INDEX ix_study_patient_name_key (patient_name_key>? AND patient_name_key<?)",
    ),
    (
        query_of(Level.STUDY, PatientName="a^b"),
        False,
        "study USING INDEX ix_study_patient_name_key (patient_name_key>? AND patient_name_key<?)",
    ),
    (query_of(Level.STUDY), False, "study USING INDEX ix_study_study_date_id"),
    (query_of(Level.SERIES), False, "study USING INDEX ix_study_study_date_id"),
    (query_of(Level.INSTANCE), False, "study USING INDEX ix_study_study_date_id"),
    (query_of(Level.INSTANCE, Modality="CT"), True, "study USING INDEX ix_study_patient_study_date (patient=?)"),
    (query_of(Level.STUDY), True, "study USING INDEX ix_study_patient_study_date (patient=?)"),
    (
        query_of(Level.STUDY, StudyDate="20250101-"),
        True,
        "study USING INDEX ix_study_patient_study_date (patient=? AND study_date>?)",
    ),
    (
        query_of(Level.SERIES, study_instance_uid="1.2"),
        False,
        "study USING INDEX sqlite_autoindex_study_1 (study_instance_uid=?)",
    ),
    (
        query_of(Level.INSTANCE, SOPInstanceUID="1.2"),
        False,
        "instance USING INDEX sqlite_autoindex_instance_1 (sop_instance_uid=?)",
    ),
    (
        query_of(Level.SERIES, SeriesInstanceUID="1.2"),
        False,
        "series USING INDEX sqlite_autoindex_series_1 (series_instance_uid=?)",
    ),
]


def test_every_plan_starts_from_an_index(sqlite_store: Store) -> None:
    world = World(sqlite_store)
    visible = world.visible()

    def plan(tx: Connection, asked: Understood, *, from_permits: bool) -> list[str]:
        statement = search_statement(asked.form, visible.visibility, tx.dialect, from_permits=from_permits)
        explained = Prepared.__new__(Prepared)
        explained.text, explained._fixed = f"EXPLAIN QUERY PLAN {statement.text}", statement._fixed
        explained._names, explained._positional = statement._names, statement._positional
        return [row[3] for row in explained.rows(tx, {**visible.parameters, **asked.parameters(tx.dialect.name)})]

    for query, from_permits, index in INDEXED:
        steps = world.store.database.read(plan, understood(query), from_permits=from_permits)
        first = next(step for step in steps if step.startswith(("SEARCH", "SCAN")))
        assert index in first, (query, steps)
        consent = [step for step in steps if step.startswith(("SEARCH permit", "SEARCH refusal"))]
        assert all("patient=?" in step for step in consent if not from_permits), consent


def test_the_permits_are_counted_to_a_bound(world: World) -> None:
    for number in range(3):
        world.grant(f"CITIZEN-{number}")
    visible = world.visible()

    def count(tx: Connection) -> int:
        return int(count_permits(visible.visibility, tx.dialect).rows(tx, visible.parameters)[0][0])

    assert world.store.database.read(count) == 3


def test_a_statement_without_its_parameters_does_not_run(world: World) -> None:
    statement = select(study.c.id).where(study.c.study_id == bindparam("wanted"))
    with statements_of(world) as ran, pytest.raises(KeyError):
        world.store.database.read(lambda tx: Prepared(statement, tx.dialect).rows(tx, {"other": 1}))
    assert ran == []


def test_a_statement_that_grows_with_its_values_is_not_prepared(world: World) -> None:
    statement = select(study.c.id).where(study.c.study_id.in_(["a", "b"]))
    with pytest.raises(ValueError, match="grows"):
        world.store.database.read(lambda tx: Prepared(statement, tx.dialect))
