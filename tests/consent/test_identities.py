"""A merge, a split or a move opens nothing until staff confirm whose images they are."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, select, update

from consent import register
from consent.errors import IncompleteConsent, NotInThatState, UnknownPatient
from consent.identities import confirm_identity, suspend_identities
from storage import epoch
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.tables import log_event, patient, study
from tests.contracts import consent as contract

from .conftest import NEIGHBOUR, by, draft, furnish
from .test_decide import asked
from .test_register import Refuses, everything


def states(tx: Connection) -> list[str]:
    return list(tx.execute(select(patient.c.state).order_by(patient.c.id)).scalars())


def test_a_merge_closes_both_identities_until_each_is_confirmed(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    database.write(register.grant, log, draft(), by())
    database.write(register.grant, log, draft(issuer=NEIGHBOUR[1]), by())
    both = [made["patient-1"], made["patient-2"]]
    assert len(contract.opened(database, asked().visible)) == 4
    before = database.read(epoch.current)
    database.write(suspend_identities, log, both, by(), reason="merge reported by the registry")
    assert database.read(epoch.current) > before
    contract.check_opens_nothing(database, asked().visible)
    database.write(confirm_identity, log, both[0], by(), reason="seen in person")
    assert set(contract.opened(database, asked().visible)) == {made["CT-1"], made["MR-1"]}
    database.write(confirm_identity, log, both[1], by(), reason="seen in person")
    assert len(contract.opened(database, asked().visible)) == 4


def test_a_study_that_moves_is_lost_to_the_old_patient_and_gained_by_nobody(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    database.write(register.grant, log, draft(), by())

    def move(tx: Connection) -> None:
        tx.execute(update(study).where(study.c.id == 1).values(patient=made["patient-2"]))
        suspend_identities(tx, log, [made["patient-1"], made["patient-2"]], by(), reason="moved")

    database.write(register.grant, log, draft(issuer=NEIGHBOUR[1]), by())
    database.write(move)
    contract.check_opens_nothing(database, asked().visible)
    database.write(confirm_identity, log, made["patient-1"], by(), reason="seen in person")
    assert contract.opened(database, asked().visible) == {}


def test_each_identity_is_recorded_once_and_the_record_shares_the_transaction(
    database: Database, log: AuditLog
) -> None:
    made = database.write(furnish)
    both = [made["patient-1"], made["patient-2"]]
    before = database.read(everything)
    with pytest.raises(OSError, match="no space"):
        database.write(suspend_identities, Refuses(log, after=1), both, by(), reason="merge")
    assert database.read(everything) == before
    database.write(suspend_identities, log, [*both, both[0]], by(), reason="merge")
    database.write(suspend_identities, log, both[:1], by(), reason="again")
    assert len(database.read(lambda tx: tx.execute(select(log_event.c.seq)).all())) == 2
    assert database.read(states) == ["suspended", "suspended"]
    with pytest.raises(OSError, match="no space"):
        database.write(confirm_identity, Refuses(log), both[0], by(), reason="seen")
    assert database.read(states) == ["suspended", "suspended"]


def test_what_is_not_in_doubt_cannot_be_confirmed_and_reasons_are_needed(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    with pytest.raises(NotInThatState):
        database.write(confirm_identity, log, made["patient-1"], by(), reason="seen")
    with pytest.raises(UnknownPatient):
        database.write(suspend_identities, log, [999], by(), reason="merge")
    with pytest.raises(UnknownPatient):
        database.write(confirm_identity, log, 999, by(), reason="seen")
    for change, whom in ((suspend_identities, [made["patient-1"]]), (confirm_identity, made["patient-1"])):
        with pytest.raises(IncompleteConsent):
            database.write(change, log, whom, by(), reason=" ")
    assert database.read(states) == ["known", "known"]
