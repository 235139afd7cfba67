"""The check finds every kind of damage that can be made, and none where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import delete, insert, update

from storage import document
from storage.tables import instance, log_event, log_subject, patient, quarantine, series, series_document, study
from tests.storage import made_up
from tests.storage.opened_store import Store
from tests.storage.test_document import refs

Damage = Callable[[Store], None]


@pytest.fixture
def sound(store: Store) -> Store:
    return filled(store)


@pytest.fixture
def sqlite_sound(sqlite_store: Store) -> Store:
    return filled(sqlite_store)


def filled(store: Store) -> Store:
    store.store(*[made_up.instance(number) for number in range(1, 5)], made_up.instance(1, PatientSex="M"))
    asyncio.run(document.get_documents(store.database, refs(store.database), "https://gw.example"))
    store.database.write(lambda _tx: None)
    return store


def change(statement: object) -> Damage:
    return lambda store: store.database.write(lambda tx: tx.execute(statement))


def object_path(store: Store, at: int = 0):
    return store.directory.objects.path_of(store.rows(instance)[at]["digest"])


def flip(store: Store) -> None:
    path = object_path(store)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def lose_quarantine(store: Store) -> None:
    store.directory.quarantine.path_of(store.rows(quarantine)[0]["digest"]).unlink()


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a lost object": (lambda store: object_path(store).unlink(), "is missing"),
    "a shorter object": (lambda store: object_path(store).write_bytes(b"DICM"), "is corrupt"),
    "a flipped bit": (flip, "is corrupt"),
    "a wrong checksum": (change(update(instance).values(chunk_crcs=bytes(4))), "is corrupt"),
    "an old mark": (change(update(instance).values(state="corrupt")), "although its object is there"),
    "a stranger": (lambda store: (store.directory.objects.root / "notes.txt").write_text("hi"), "is no object"),
    "a wrong count": (change(update(series).values(instance_count=99)), "says 99"),
    "a lost instance": (change(delete(instance).where(instance.c.instance_number == 2)), "says 4"),
    "an empty study": (
        lambda store: store.database.write(
            lambda tx: tx.execute(
                insert(study).values(
                    study_instance_uid="1.2",
                    fragment=b"",
                    received_at=0,
                    available_since=0,
                    guaranteed_until=0,
                    state="online",
                )
            )
        ),
        "has no series",
    ),
    "another patient": (change(update(patient).values(patient_id="SOMEBODY")), "not with the patient"),
    "no patient": (change(update(study).values(patient=None)), "not with the patient"),
    "a torn fragment": (change(update(instance).values(fragment=b"\x01\x02")), "is damaged at 00080018"),
    "another study's fragment": (change(update(study).values(fragment=b'"0020000D":{}')), "is damaged at 0020000D"),
    "a torn document": (change(update(series_document).values(body=b"\x00")), "document of series"),
    "a document from the future": (change(update(series_document).values(revision=99)), "document of series"),
    "a document of other instances": (
        change(update(instance).values(instance_number=100 - instance.c.instance_number)),
        "not what its instances say",
    ),
    "a lost event": (change(delete(log_event).where(log_event.c.seq == 1)), "event"),
    "a lost subject": (change(delete(log_subject)), "lacks"),
    "lost quarantine": (lose_quarantine, "not in quarantine"),
}


def test_a_sound_store_has_no_problems(sound: Store) -> None:
    report = sound.fsck()
    assert report.ok
    assert report.problems == []
    counts = {"instances": 4, "objects": 4, "orphans": 0, "quarantine": 1, "documents": 1, "left over": 0}
    assert {name: report.counts[name] for name in counts} == counts


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(sqlite_sound: Store, name: str) -> None:
    damage, expected = DAMAGES[name]
    damage(sqlite_sound)
    report = sqlite_sound.fsck()
    assert not report.ok
    assert any(expected in problem for problem in report.problems), report.problems
    assert not any("CITIZEN" in problem or "Citizen" in problem for problem in report.problems)


def test_an_orphan_is_listed_and_is_no_problem(sound: Store) -> None:
    (path,) = [p for p in sound.directory.quarantine.root.rglob("*") if p.is_file()]
    sound.directory.objects.take(path, bytes.fromhex(path.name))
    report = sound.fsck()
    assert report.orphans == [path.name]
    assert report.ok


def test_the_quick_check_reads_no_object(sqlite_sound: Store) -> None:
    flip(sqlite_sound)
    assert sqlite_sound.fsck(full=False).ok
