"""Several processes store into one catalog at once: each SOP Instance UID has one data set, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.database import Database
from storage.tables import instance, quarantine, series, study
from tests.conftest import ROOT
from tests.storage.opened_store import Store

UIDS = 200

RACER = """
import json, sys, time
from pathlib import Path
from storage.database import Database
from storage.space import Space
from tests.storage import made_up
from tests.storage.opened_store import open_store
import consent.tables, gateway.auth.tables

url, root, node, sex, start, number = sys.argv[1:]
database = Database(url)
store = open_store(Path(root), database, node=node)
files = [
    made_up.instance(n, PatientSex=sex, SeriesInstanceUID=f"{made_up.SERIES}.{n % 4}",
                     StudyInstanceUID=f"{made_up.STUDY}.{n % 4 // 2}")
    for n in range(1, int(number) + 1)
]
if node == "n2":
    files.reverse()  # the locks of the two meet from both ends
while time.time() < float(start):
    time.sleep(0.001)
outcomes = store.store(*files)
print(json.dumps([[one.status.value, one.sop_instance_uid, one.reason] for one in outcomes]))
store.close()
database.close()
"""


def race(url: str, roots: tuple[Path, Path], sexes: tuple[str, str]) -> list[list[tuple[str, str, str]]]:
    import time

    start = str(time.time() + 4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, str(root), node, sex, start, str(UIDS)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        for root, node, sex in zip(roots, ("n1", "n2"), sexes, strict=True)
    ]
    answers = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    return [json.loads(answer) for answer in answers]


@pytest.fixture
def raced(database: Database, new_store: Callable[..., Store], tmp_path: Path) -> Callable[..., tuple]:
    def run(*sexes: str) -> tuple[Store, list]:
        store = new_store(database)
        url = database.url.render_as_string(hide_password=False)
        return store, race(url, (tmp_path / "data", tmp_path / "data"), sexes)

    return run


def test_the_same_instances_from_two_processes_are_stored_once(raced: Callable) -> None:
    store, answers = raced("F", "F")
    found = Counter(status for answer in answers for status, _, _ in answer)
    assert found == {"stored": UIDS, "duplicate": UIDS}
    check(store)


def test_other_instances_under_the_same_uids_are_quarantined_and_never_lost(raced: Callable) -> None:
    store, answers = raced("F", "M")
    found = Counter(status for answer in answers for status, _, _ in answer)
    assert found == {"stored": UIDS, "conflict": UIDS}, {reason for answer in answers for _, _, reason in answer}
    winners = {uid for answer in answers for status, uid, _ in answer if status == "stored"}
    assert len(winners) == UIDS
    assert len(store.rows(quarantine)) == UIDS
    report = check(store)
    assert report.counts["quarantine orphans"] == 0
    # a late loser's bytes may lie among the objects too: what is not catalogued is never deleted for that alone
    assert report.counts["orphans"] <= UIDS


def check(store: Store):
    assert len(store.rows(instance)) == UIDS
    assert sum(row["instance_count"] for row in store.rows(series)) == UIDS
    assert (len(store.rows(series)), len(store.rows(study))) == (4, 2)
    report = store.fsck()
    assert report.problems == []
    return report
