"""Decisions: what opens nothing, what the desk sees, what running downloads are held to, and how it is planned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, false, insert, or_, select, update

from consent import decide as decisions
from consent import register
from consent.decide import CONSENT, decide, decide_desk, next_change, still_visible
from consent.model import Action, Decision, Purpose, Requester, Scope
from consent.tables import consent_grant, facility
from storage.catalog_statement import Prepared
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.model import Visible
from storage.tables import patient, series, study
from tests.contracts import consent as contract

from .conftest import BOTH, DAY, NOW, by, draft, furnish, requester


def asked(who: Requester | None = None, at: int = NOW, action: Action = Action.SEARCH) -> Decision:
    return decide(who or requester(), action, at, unlabelled_is_ordinary=True)


def staff(role: str) -> Requester:
    return requester("staff", affiliated=True, purpose=Purpose.HOPERAT, scopes=frozenset({f"staff/{role}"}))


def test_without_a_consent_nobody_sees_anything(database: Database) -> None:
    database.write(furnish)
    for who in (requester(), requester("fac-b"), requester("fac-c", affiliated=True), requester("unheard-of")):
        contract.check_opens_nothing(database, asked(who).visible)


def test_silence_is_refusal_in_sql_too(database: Database) -> None:
    made = database.write(furnish)
    nothing = or_(false())
    assert database.read(lambda tx: tx.execute(study.select().where(nothing)).all()) == []
    assert made


def test_a_consent_opens_its_patient_and_no_namesake_of_another_issuer(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    given = database.write(register.grant, log, draft(), by())
    found = contract.opened(database, asked().visible)
    assert found == dict.fromkeys((made["CT-1"], made["MR-1"]), f"{given.consent_id}/1")


def test_rules_owe_the_catalog_ground_and_driving_side(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    database.write(register.grant, log, draft(), by())
    for visible in (asked().visible, decide_desk(staff("consent"), made["patient-1"], NOW).visible):
        contract.check_ground_and_driving_side(database, visible)
        contract.check_refuses_a_statement_that_forgets_study_or_series(database, visible)


@pytest.mark.parametrize("purpose", [Purpose.ETREAT, Purpose.BTG])
def test_emergency_purposes_open_nothing_even_where_every_purpose_is_allowed(
    database: Database, log: AuditLog, purpose: Purpose
) -> None:
    database.write(furnish)
    database.write(lambda tx: tx.execute(update(facility).values(purposes="TREAT,ETREAT,BTG")))
    database.write(register.grant, log, draft(purposes=(), any_purpose=True), by())
    decision = asked(requester(purpose=purpose))
    contract.check_opens_nothing(database, decision.visible)
    assert "emergency access is off" in decision.reasons
    assert contract.opened(database, asked().visible)


def test_an_unlabelled_series_is_as_ordinary_as_the_hospital_says(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    database.write(register.grant, log, draft(), by())
    strict = decide(requester(), Action.SEARCH, NOW, unlabelled_is_ordinary=False)
    assert contract.opened(database, asked().visible)
    assert contract.opened(database, strict.visible) == {}


def test_a_decision_needs_an_action() -> None:
    with pytest.raises(ValueError, match="action"):
        asked(action=Action(0))


@pytest.mark.parametrize("role", ["consent", "records", "admin"])
def test_the_desk_sees_what_is_here_of_one_patient(database: Database, role: str) -> None:
    made = database.write(furnish)
    visible = decide_desk(staff(role), made["patient-2"], NOW).visible
    assert contract.opened(database, visible) == {made["CT-2"]: "desk", made["MR-2"]: "desk"}
    database.write(lambda tx: tx.execute(update(study).values(state="withdrawn")))
    assert contract.opened(database, visible) == {}


def test_nobody_else_sits_at_the_desk(database: Database) -> None:
    made = database.write(furnish)
    impostor = requester("fac-a", scopes=frozenset({"staff/admin"}))
    for who in (staff("auditor"), staff("owner"), requester(), impostor):
        contract.check_opens_nothing(database, decide_desk(who, made["patient-1"], NOW).visible)


def test_staff_are_no_facility_that_a_consent_could_name(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    database.write(register.grant, log, draft(facilities=(), any_facility=True), by())
    contract.check_opens_nothing(database, asked(staff("admin")).visible)


def test_a_patient_without_identifier_is_on_nobodys_desk(database: Database) -> None:
    database.write(furnish)
    database.write(lambda tx: tx.execute(update(study).values(patient=None)))
    nobody = decide_desk(staff("auditor"), 1, NOW).visible
    assert nobody.parameters == {"patient": None}
    contract.check_opens_nothing(database, Visible(visibility=decisions.DESK, parameters={"patient": None}))


def test_a_running_download_loses_what_was_revoked(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    given = database.write(register.grant, log, draft(), by())
    decision = asked(action=Action.RETRIEVE)
    sent = frozenset({made["CT-1"], made["MR-1"]})
    assert database.read(still_visible, decision, sent, NOW) == sent
    database.write(register.deny, log, draft(scope=Scope(modalities=("MR",))), by(at=NOW + 1))
    assert database.read(still_visible, decision, sent, NOW + 1) == {made["CT-1"]}
    database.write(register.revoke, log, given.consent_id, by(), reason="the patient said so")
    assert database.read(still_visible, decision, sent, NOW) == frozenset()


def test_more_series_than_one_statement_takes_are_still_judged(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    database.write(register.grant, log, draft(), by())
    many = range(made["CT-1"], made["CT-1"] + 3 * decisions.BATCH)
    assert database.read(still_visible, asked(), many, NOW) == {made["CT-1"], made["MR-1"]}
    assert database.read(still_visible, asked(), (), NOW) == frozenset()


def test_expiry_and_coming_refusals_are_foretold(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    assert database.read(next_change, asked(), NOW) is None
    given = database.write(register.grant, log, draft(effective_until=NOW + 9 * DAY), by())
    database.write(register.grant, log, draft(facilities=("fac-b",), effective_until=NOW + 2 * DAY), by())
    assert database.read(next_change, asked(), NOW) == NOW + 9 * DAY
    database.write(register.deny, log, draft(facilities=(), any_facility=True, effective_from=NOW + 5 * DAY), by())
    assert database.read(next_change, asked(), NOW) == NOW + 5 * DAY
    assert database.read(next_change, asked(), NOW + 5 * DAY) == NOW + 9 * DAY
    database.write(register.revoke, log, given.consent_id, by(), reason="the patient said so")
    assert database.read(next_change, asked(), NOW + 5 * DAY) is None


def test_time_changes_nothing_at_the_desk(database: Database, log: AuditLog) -> None:
    made = database.write(furnish)
    database.write(register.grant, log, draft(effective_until=NOW + DAY), by())
    assert database.read(next_change, decide_desk(staff("admin"), made["patient-1"], NOW), NOW) is None


# Plans


def crowd(tx: Connection) -> None:
    """Enough grants that reading all of them would be seen in the plan."""
    furnish(tx)
    tx.execute(insert(patient), [{"id": n, "issuer": "CROWD", "patient_id": f"N{n}"} for n in range(100, 2100)])
    common = {"version": 1, "effect": "permit", "purpose": "TREAT", "actions": int(BOTH), "sensitivity": 0}
    life = {"valid_from": 0, "valid_until": NOW * 2, "revoked_at": None}
    rows = [
        {"consent_id": f"c{n}", "patient": n, "facility": ("fac-a", "fac-b", "*")[n % 3], **common, **life}
        for n in range(100, 2100)
    ]
    tx.execute(insert(consent_grant), rows)


def plan(tx: Connection, decision: Decision) -> Iterator[str]:
    both = series.join(study, study.c.id == series.c.study)
    asked_for = select(series.c.id, CONSENT.ground.label("ground")).select_from(both).where(CONSENT.series)
    prepared = Prepared(asked_for, tx.dialect)
    prepared.text = ("EXPLAIN QUERY PLAN " if tx.dialect.name == "sqlite" else "EXPLAIN ") + prepared.text
    for row in prepared.rows(tx, decision.visible.parameters):
        yield str(row[-1])


@pytest.mark.parametrize("measured", [False, True], ids=["new", "analyzed"])
def test_the_predicate_reaches_grants_by_patient_and_facility(database: Database, *, measured: bool) -> None:
    database.write(crowd)
    if measured:
        database.write(lambda tx: tx.exec_driver_sql("ANALYZE"))
    steps = database.read(lambda tx: list(plan(tx, asked())))
    print("", *steps, sep="\n")
    assert not [step for step in steps if step.startswith(("SCAN permit", "SCAN refusal"))]
    assert not [step for step in steps if "Seq Scan on consent_grant" in step]
    assert [step for step in steps if "patient_facility" in step or "facility_patient" in step]


def test_one_visibility_is_built_once() -> None:
    assert asked().visible.visibility is CONSENT
    assert asked(requester("fac-b")).visible.visibility is CONSENT
