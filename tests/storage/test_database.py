"""The database adapter, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import Connection, func, select, update

from storage import patients
from storage.database import Database
from storage.tables import patient


def count_patients(tx: Connection) -> int:
    return int(tx.execute(select(func.count()).select_from(patient)).scalar_one())


def test_a_written_row_is_seen_by_the_next_reader(database: Database) -> None:
    key = database.write(patients.find_or_add, "CITIZEN^1", "hospital")
    assert database.read(patients.find, "CITIZEN^1", "hospital") == key
    assert database.read(patients.find, "CITIZEN^1", "elsewhere") is None


def test_a_function_that_fails_undoes_itself_and_not_its_neighbours(database: Database) -> None:
    def add_then_fail(tx: Connection, name: str) -> None:
        patients.find_or_add(tx, name, "hospital")
        raise LookupError(name)

    futures = [
        database.submit(add_then_fail if n % 3 == 0 else patients.find_or_add, f"P{n}", *([] if n % 3 == 0 else ["h"]))
        for n in range(30)
    ]
    failed = [future for future in futures if future.exception() is not None]
    assert len(failed) == 10
    assert all(isinstance(future.exception(), LookupError) for future in failed)
    assert database.read(count_patients) == 20


async def test_readers_and_writer_serve_a_running_loop(database: Database) -> None:
    key = await database.commit(patients.find_or_add, "CITIZEN^2", "hospital")
    assert await database.fetch(patients.find, "CITIZEN^2", "hospital") == key


def test_a_reader_cannot_write(sqlite_database: Database) -> None:
    with pytest.raises(Exception, match="readonly"):
        sqlite_database.read(patients.find_or_add, "CITIZEN^3", "hospital")


def test_two_nodes_that_lock_in_different_order_both_get_their_answer(
    new_database: Callable[[str], Database], postgresql_server: str
) -> None:
    """PostgreSQL ends a deadlock by failing one of the two; its function is run again."""
    here = new_database("postgresql")
    there = Database(here.url.render_as_string(hide_password=False))
    keys = [here.write(patients.find_or_add, f"CITIZEN^{n}", "hospital") for n in range(2)]
    met = threading.Barrier(2, timeout=10)

    def touch(tx: Connection, order: list[int]) -> str:
        for place, key in enumerate(order):
            tx.execute(update(patient).where(patient.c.id == key).values(state="known"))
            if place == 0 and not met.broken:
                with suppress(threading.BrokenBarrierError):
                    met.wait()
                met.abort()  # only the first try of each waits for the other
        return "done"

    answers = [here.submit(touch, keys), there.submit(touch, keys[::-1])]
    assert [answer.result(timeout=30) for answer in answers] == ["done", "done"]
    there.close()


async def test_a_short_read_sees_what_another_process_has_just_committed(database: Database) -> None:
    assert await database.fetch_short(patients.find, "CITIZEN^4", "hospital") is None
    elsewhere = Database(database.url.render_as_string(hide_password=False))
    key = elsewhere.write(patients.find_or_add, "CITIZEN^4", "hospital")
    elsewhere.close()
    assert await database.fetch_short(patients.find, "CITIZEN^4", "hospital") == key
