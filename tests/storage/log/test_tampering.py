"""Whatever is tampered with is found, and the report says where."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from storage import schema
from storage.database import Database, sqlite_url
from storage.log.audit_log import AuditLog
from storage.sealing import KeyRing
from tests.storage.log import tampering
from tests.storage.log.events import NOW
from tests.storage.log.tampering import FileTamper, Filled, Tamper

VERIFIER = tampering.standalone()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """5,000 events on SQLite."""
    home = tmp_path_factory.mktemp("large")
    (home / "data").mkdir()
    database = Database(sqlite_url(home / "data"))
    database.write(schema.install, "test-store")
    keys = KeyRing(home / "keys", data_dir=home / "data")
    log = AuditLog(database, keys, home / "data", node="n1", process="p", clock=lambda: NOW)
    yield tampering.fill(log, 5000)
    database.close()


@pytest.fixture
def small(database: Database, open_log: Callable[..., AuditLog]) -> Filled:
    return tampering.fill(open_log(database), 300, waiting=12)


def assert_told(problems: list[str], expected: str) -> None:
    assert problems
    assert any(re.search(expected, problem) for problem in problems), (expected, problems[:5])


def test_an_untouched_log_is_whole(large: Filled, small: Filled) -> None:
    for filled in (large, small):
        found = filled.log.database.read(filled.log.verify, filled.kept)
        assert (found.problems, found.size, found.waiting) == ((), filled.size, filled.total - filled.size)
        assert found.ok
        assert filled.log.database.read(tampering.checked_outside, filled, VERIFIER) == []


AMONG_MANY = [
    tampering.a_bit_of_a_body,
    tampering.a_bit_of_an_opening,
    tampering.an_opening_removed,
    tampering.a_record_deleted,
    tampering.a_record_deleted_and_the_gap_closed,
    tampering.two_bodies_swapped,
    tampering.a_waiting_record_removed,
    tampering.history_rewritten_without_a_seam,
    tampering.a_subject_row_removed,
]


@pytest.mark.parametrize("tamper", AMONG_MANY, ids=lambda tamper: tamper.__name__)
def test_it_is_found_among_5000_events(tamper: Tamper, large: Filled) -> None:
    def run(tx: Connection) -> tuple[str, list[str]]:
        expected = tamper(tx, large, random.Random(tamper.__name__))
        return expected, list(large.log.verify(tx, large.kept).problems)

    expected, problems = tampering.undone(large, run)
    assert_told(problems, expected)


@pytest.mark.parametrize("tamper", tampering.IN_FILES, ids=lambda tamper: tamper.__name__)
def test_it_is_found_in_the_files(tamper: FileTamper, large: Filled) -> None:
    with tampering.files_restored(large):
        expected = tamper(large, random.Random(tamper.__name__))
        assert_told(list(large.log.database.read(large.log.verify).problems), expected)


def test_every_tamper_is_found_on_both_databases_and_by_both_verifiers(small: Filled) -> None:
    def run(tx: Connection, tamper: Tamper, seed: int) -> tuple[str, list[str], list[str]]:
        expected = tamper(tx, small, random.Random(seed))
        outside = tampering.checked_outside(tx, small, VERIFIER)
        return expected, list(small.log.verify(tx, small.kept).problems), outside

    for seed, tamper in enumerate(tampering.SEEN_OUTSIDE + tampering.SEEN_INSIDE):
        expected, inside, outside = tampering.undone(small, lambda tx, job=(tamper, seed): run(tx, *job))
        assert_told(inside, expected)
        if tamper in tampering.SEEN_OUTSIDE:
            assert_told(outside, expected)
    assert small.log.database.read(small.log.verify).ok


def test_a_tail_cut_off_without_a_trace_is_told_by_a_checkpoint_kept_elsewhere(large: Filled) -> None:
    size = large.size // 4

    def run(tx: Connection) -> tuple[Any, Any, list[str]]:
        tampering.cut_off(tx, large, large.earliest, size)
        with_nothing = large.log.verify(tx)
        return with_nothing, large.log.verify(tx, large.kept), tampering.checked_outside(tx, large, VERIFIER)

    with tampering.files_restored(large):
        alone, held_against, outside = tampering.undone(large, run)
    # tiles of the partial tile are gone once the full one is there, and nothing else tells from inside
    assert all("tile" in problem for problem in alone.problems)
    assert_told(
        list(held_against.problems), rf"end was cut off: the checkpoint given counts {large.size * 3 // 4} events"
    )
    assert_told(outside, "end was cut off: the checkpoint kept counts")


def test_a_checkpoint_of_another_history_is_told(large: Filled, keys: KeyRing, tmp_path: Path) -> None:
    forged = large.kept.replace("openpriors/test-store", "openpriors/other-store")
    found = large.log.database.read(large.log.verify, forged)
    assert_told(list(found.problems), "the checkpoint given: .*not signed")
    found = large.log.database.read(large.log.verify, "junk")
    assert_told(list(found.problems), "the checkpoint given: .*not a signed note")


def test_every_one_of_300_flipped_bits_is_told_with_its_place(large: Filled) -> None:
    def run(tx: Connection) -> tuple[list[Any], list[str]]:
        flipped = tampering.flips(tx, large, random.Random(11), 300)
        return flipped, list(large.log.verify(tx).problems)

    flipped, problems = tampering.undone(large, run)
    told = {int(number) for problem in problems for number in re.findall(r"event (\d+) of node", problem)}
    assert [(kind, place) for kind, place in flipped if place.seq not in told] == []
