"""What stewards may do with a study, and never inside its guarantee."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from storage import epoch, steward
from storage.errors import Guaranteed
from storage.log.event import Kind
from storage.steward import NotPossible, SecondPersonNeeded, UnknownStudy
from storage.tables import study
from tests.storage import made_up
from tests.storage.opened_store import CUSTODY, NOON, Store

YEAR = 366 * 86_400_000_000
UID = made_up.STUDY


@pytest.fixture
def held(store: Store) -> Store:
    store.store(made_up.instance(1), made_up.instance(2))
    return store


def state(store: Store) -> str:
    return store.database.read(steward.availability, CUSTODY, UID).state


def let_go(store: Store, at: int) -> None:
    store.database.write(lambda tx: tx.execute(update(study).values(purge_after=at)))


def test_counts_are_those_of_the_catalog(held: Store) -> None:
    held.store(made_up.instance(1, PatientSex="M"))
    counts = held.database.read(steward.count, CUSTODY)
    assert (counts.patients, counts.studies, counts.series) == (1, {"online": 1}, 1)
    assert (counts.instances, counts.quarantine) == ({"online": 2}, 1)
    assert counts.size_bytes == sum(len(made_up.instance(number)) for number in (1, 2))


def test_objects_are_listed_page_by_page(held: Store) -> None:
    first = held.database.read(steward.list_objects, CUSTODY, most=1)
    rest = held.database.read(steward.list_objects, CUSTODY, after=first[0].key)
    digests = {one.digest for one in (*first, *rest)}
    assert len(digests) == 2
    assert held.database.read(steward.have, CUSTODY, [*digests, bytes(32)]) == digests


def test_a_mark_is_recorded_once(held: Store) -> None:
    uid = f"{made_up.SERIES}.1"
    assert held.database.write(steward.mark, held.task(), uid, "corrupt")
    assert not held.database.write(steward.mark, held.task(), uid, "corrupt")
    assert held.ref(uid).state == "corrupt"
    (event,) = held.events(Kind.STUDY_STATE)
    assert event.plain["change"] == "instance corrupt"
    with pytest.raises(ValueError, match="gone"):
        held.database.write(steward.mark, held.task(), uid, "gone")


def test_nothing_goes_before_its_guarantee_has_ended(held: Store) -> None:
    let_go(held, NOON)
    promised = held.database.read(steward.availability, CUSTODY, UID).guaranteed_until
    assert promised > NOON + 364 * 86_400_000_000
    for held.now[0] in (NOON, promised - 1):
        with pytest.raises(Guaranteed):
            held.database.write(steward.tombstone, held.task(), UID)
    held.now[0] = promised
    before = held.database.read(epoch.current)
    held.database.write(steward.tombstone, held.task(), UID)
    assert state(held) == "tombstoned"
    assert held.database.read(epoch.current) == before + 1


def test_the_end_of_the_guarantee_alone_removes_nothing(held: Store) -> None:
    held.now[0] = NOON + 50 * YEAR
    with pytest.raises(Guaranteed):
        held.database.write(steward.tombstone, held.task(), UID)


def test_a_longer_policy_counts(held: Store) -> None:
    let_go(held, NOON + 3 * YEAR)
    held.now[0] = NOON + 2 * YEAR
    with pytest.raises(Guaranteed):
        held.database.write(steward.tombstone, held.task(), UID)


def test_a_hold_keeps_a_study_for_ever(held: Store) -> None:
    let_go(held, NOON)
    key = held.database.write(steward.place_hold, held.task(), UID, "a lawsuit")
    held.now[0] = NOON + 20 * YEAR
    with pytest.raises(Guaranteed):
        held.database.write(steward.tombstone, held.task(), UID)
    assert held.database.read(steward.availability, CUSTODY, UID).holds == ["a lawsuit"]
    held.database.write(steward.lift_hold, held.task(), UID, key)
    with pytest.raises(NotPossible):
        held.database.write(steward.lift_hold, held.task(), UID, key)
    held.database.write(steward.tombstone, held.task(), UID)
    assert [event.plain["change"] for event in held.events(Kind.HOLD)] == ["placed", "lifted"]


def test_a_withdrawal_is_immediate_reasoned_and_confirmed_by_somebody_else(held: Store) -> None:
    with pytest.raises(NotPossible):
        held.database.write(steward.withdraw, held.task(), UID, "  ")
    before = held.database.read(epoch.current)
    held.database.write(steward.withdraw, held.task("first"), UID, "wrong patient")
    assert state(held) == "withdrawn"
    assert held.database.read(epoch.current) == before + 1
    with pytest.raises(SecondPersonNeeded):
        held.database.write(steward.confirm_withdrawal, held.task("first"), UID)
    waiting = held.database.read(steward.availability, CUSTODY, UID).holds
    assert waiting == ["withdrawn: wrong patient"]
    held.database.write(steward.confirm_withdrawal, held.task("second"), UID)
    with pytest.raises(NotPossible):
        held.database.write(steward.confirm_withdrawal, held.task("third"), UID)
    changes = [(event.plain["change"], event.sealed["reason"]) for event in held.events(Kind.STUDY_STATE)]
    assert changes == [("withdrawn", "wrong patient"), ("withdrawal confirmed", "")]


def test_an_unconfirmed_withdrawal_cannot_be_lifted_like_a_hold(held: Store) -> None:
    from storage.tables import hold

    held.database.write(steward.withdraw, held.task(), UID, "wrong patient")
    (row,) = held.rows(hold)
    with pytest.raises(NotPossible):
        held.database.write(steward.lift_hold, held.task(), UID, row["id"])


def test_what_was_hidden_can_be_shown_again(held: Store) -> None:
    held.database.write(steward.withdraw, held.task(), UID, "wrong patient")
    held.database.write(steward.restore, held.task(), UID)
    assert state(held) == "online"
    assert held.database.read(steward.availability, CUSTODY, UID).holds == []
    with pytest.raises(NotPossible):
        held.database.write(steward.restore, held.task(), UID)


def test_a_study_that_is_not_here_is_told_so(store: Store) -> None:
    with pytest.raises(UnknownStudy):
        store.database.write(steward.withdraw, store.task(), UID, "reason")
