"""The register: states, immutable versions, and the record that shares the transaction of every change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, func, select

from consent import chain, register
from consent.decide import CONSENT
from consent.errors import (
    ChangedMeanwhile,
    ConsentError,
    ImproperConsent,
    IncompleteConsent,
    NotInThatState,
    SecondPersonNeeded,
    UnknownConsent,
)
from consent.model import FOREVER, Basis, Consent, Effect, Provenance, Purpose, Scope, State
from consent.tables import consent, consent_grant, consent_time
from storage import epoch, patients
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.log.entry import opening_context, parse, value_of
from storage.log.event import AuditEvent, Kind
from storage.sealing import KeyRing
from storage.tables import log_event, log_opening, log_subject, patient
from tests.contracts import consent as contract

from . import prose, world
from .conftest import CITIZEN, DAY, NEIGHBOUR, NOW, by, draft, furnish, requester
from .test_decide import asked
from .test_rules_agree import answers, opened_by

VERBS: dict[str, Callable[..., Consent]] = {
    "suspend": register.suspend,
    "resume": register.resume,
    "revoke": register.revoke,
    "enter_in_error": register.enter_in_error,
}
TABLES = (consent, consent_grant, consent_time, log_event, log_subject, log_opening, patient)


def everything(tx: Connection) -> tuple[object, ...]:
    """All rows that a change could touch, and the epoch."""
    rows = [tuple(map(tuple, tx.execute(select(table)).all())) for table in TABLES]
    return (*rows, epoch.current(tx))


def events(tx: Connection) -> list[dict[str, object]]:
    found = [parse(bytes(row.body)) for row in tx.execute(select(log_event.c.body).order_by(log_event.c.seq))]
    return [dict(body.plain) for body in found if body.kind is Kind.CONSENT]


def live_grants(tx: Connection) -> int:
    return int(
        tx.execute(
            select(func.count()).select_from(consent_grant).where(consent_grant.c.revoked_at.is_(None))
        ).scalar_one()
    )


def bring_to(database: Database, log: AuditLog, state: State, effect: Effect = Effect.PERMIT) -> Consent:
    """A consent in this state, by the way that leads there."""
    wanted = draft(effective_until=NOW + DAY)
    if state in (State.DRAFT, State.PENDING):
        made = database.write(register.prepare, log, wanted, effect, by("first@hospital.example"))
        if state is State.PENDING:
            made = database.write(register.submit, log, made.consent_id, by("first@hospital.example"))
        return made
    record = register.grant if effect is Effect.PERMIT else register.deny
    made = database.write(record, log, wanted, by())
    change: dict[State, tuple[Callable[..., object], tuple[object, ...], dict[str, object]]] = {
        State.SUSPENDED: (register.suspend, (made.consent_id, by()), {"reason": "in dispute"}),
        State.REVOKED: (register.revoke, (made.consent_id, by()), {"reason": "the patient said so"}),
        State.EXPIRED: (register.expire_due, (by(at=NOW + DAY),), {}),
        State.SUPERSEDED: (register.supersede, (made.consent_id, wanted, by()), {}),
        State.ENTERED_IN_ERROR: (register.enter_in_error, (made.consent_id, by()), {"reason": "wrong patient"}),
    }
    if state in change:
        verb, positional, named = change[state]
        database.write(verb, log, *positional, **named)
    return database.read(register.get, made.consent_id)


def attempt(database: Database, log: AuditLog, verb: str, head: Consent) -> Consent:
    at = by("second@hospital.example")
    if verb == "submit":
        return database.write(register.submit, log, head.consent_id, at)
    if verb == "activate":
        return database.write(register.activate, log, head.consent_id, at)
    if verb == "supersede":
        return database.write(register.supersede, log, head.consent_id, draft(), at)
    return database.write(VERBS[verb], log, head.consent_id, at, reason="because")


# The table of design: what each verb does to each state; all else is refused.
ALLOWED = {
    ("submit", State.DRAFT): State.PENDING,
    ("activate", State.PENDING): State.ACTIVE,
    ("suspend", State.ACTIVE): State.SUSPENDED,
    ("resume", State.SUSPENDED): State.ACTIVE,
    ("revoke", State.ACTIVE): State.REVOKED,
    ("revoke", State.SUSPENDED): State.REVOKED,
    ("supersede", State.ACTIVE): State.SUPERSEDED,
    ("supersede", State.SUSPENDED): State.SUPERSEDED,
    **{("enter_in_error", state): State.ENTERED_IN_ERROR for state in State if state is not State.ENTERED_IN_ERROR},
}


@pytest.mark.parametrize("verb", ["submit", "activate", *VERBS, "supersede"])
def test_every_change_is_allowed_in_its_states_only_and_recorded_once(
    database: Database, log: AuditLog, verb: str
) -> None:
    for state in State:
        head = bring_to(database, log, state)
        assert head.state is state
        before, known = database.read(everything), database.read(events)
        becomes = ALLOWED.get((verb, state))
        if becomes is None:
            with pytest.raises(NotInThatState):
                attempt(database, log, verb, head)
            assert database.read(everything) == before
            continue
        attempt(database, log, verb, head)
        after = database.read(register.get, head.consent_id)
        assert (after.state, after.version) == (becomes, head.version + 1)
        new = database.read(events)[len(known) :]
        assert next((e["consent_id"], e["version"], e["state"]) for e in new) == (
            head.consent_id,
            after.version,
            becomes.value,
        )
        assert len(new) == (2 if verb == "supersede" else 1)
        database.write(clear_live, log)


def clear_live(tx: Connection, log: AuditLog) -> None:
    """Only active consents have live grants, and only they and suspended ones still wait for a time; end them all."""
    for one in register.list_recent(tx, limit=100):
        ours = consent_grant.c.consent_id == one.consent_id
        live = tx.execute(select(consent_grant.c.id).where(ours, consent_grant.c.revoked_at.is_(None))).all()
        waits = tx.execute(select(consent_time).where(consent_time.c.consent_id == one.consent_id)).all()
        assert bool(live) == (one.state is State.ACTIVE)
        assert bool(waits) == (one.ends and one.state in (State.ACTIVE, State.SUSPENDED))
        if live:
            register.revoke(tx, log, one.consent_id, by(), reason="tidying")
    assert live_grants(tx) == 0


def test_a_refusal_is_never_suspended(database: Database, log: AuditLog) -> None:
    head = bring_to(database, log, State.ACTIVE, Effect.DENY)
    with pytest.raises(NotInThatState, match="goes on closing"):
        database.write(register.suspend, log, head.consent_id, by(), reason="in dispute")
    assert database.read(register.get, head.consent_id) == head


# Law 7


class Refuses:
    """A log that cannot be written, at the given call."""

    def __init__(self, log: AuditLog, after: int = 0) -> None:
        self.log, self.left = log, after

    def append(self, tx: Connection, event: AuditEvent) -> object:
        if self.left == 0:
            raise OSError("no space left for the record")
        self.left -= 1
        return self.log.append(tx, event)


def test_without_its_record_no_change_is_made(database: Database, log: AuditLog) -> None:
    head = bring_to(database, log, State.ACTIVE)
    suspended = bring_to(database, log, State.SUSPENDED)
    waiting = bring_to(database, log, State.PENDING)
    before = database.read(everything)
    who = by("second@hospital.example", at=NOW + 2 * DAY)
    changes: list[tuple[Callable[..., object], tuple[object, ...], dict[str, object]]] = [
        (register.grant, (draft(), by()), {}),
        (register.deny, (draft(), by()), {}),
        (register.prepare, (draft(), Effect.PERMIT, by()), {}),
        (register.activate, (waiting.consent_id, by("second@hospital.example")), {}),
        (register.suspend, (head.consent_id, by()), {"reason": "x"}),
        (register.resume, (suspended.consent_id, by()), {"reason": "x"}),
        (register.revoke, (head.consent_id, by()), {"reason": "x"}),
        (register.enter_in_error, (head.consent_id, by()), {"reason": "x"}),
        (register.supersede, (head.consent_id, draft(), by()), {}),
        (register.expire_due, (who,), {}),
    ]
    for change, positional, named in changes:
        with pytest.raises(OSError, match="no space"):
            database.write(change, Refuses(log), *positional, **named)
        assert database.read(everything) == before, change.__name__
    with pytest.raises(OSError, match="no space"):
        database.write(register.supersede, Refuses(log, after=1), head.consent_id, draft(), by())
    assert database.read(everything) == before


def test_without_the_change_there_is_no_record(database: Database, log: AuditLog) -> None:
    head = bring_to(database, log, State.REVOKED)
    before = database.read(everything)
    refused: list[tuple[Callable[..., object], tuple[object, ...], dict[str, object]]] = [
        (register.grant, (draft(facilities=()), by()), {}),
        (register.deny, (draft(scope=Scope(study_from="2024")), by()), {}),
        (register.revoke, (head.consent_id, by()), {"reason": "again"}),
        (register.supersede, (head.consent_id, draft(), by()), {}),
        (register.enter_in_error, (head.consent_id, by()), {"reason": "  "}),
    ]
    for change, positional, named in refused:
        with pytest.raises(ConsentError):
            database.write(change, log, *positional, **named)
        assert database.read(everything) == before


def test_the_record_seals_who_and_says_what(database: Database, log: AuditLog, keys: KeyRing) -> None:
    said = draft(scope=Scope(studies=("2.25.77",)), signed_by="Pat Made-Up", reason="asked on the phone")
    made = database.write(register.grant, log, said, by("staff@hospital.example"))
    (body,) = database.read(lambda tx: [bytes(row.body) for row in tx.execute(select(log_event.c.body))])
    assert not [word for word in (b"MADE-UP", b"2.25.77", b"Pat", b"staff@", b"phone") if word in body]
    facts = parse(body)
    assert (facts.kind, facts.request, facts.at) == (Kind.CONSENT, "r1", NOW)
    assert facts.plain["change"] == "granted"
    assert facts.plain["basis"] == "policy"
    assert facts.plain["effect"] == "permit"
    assert facts.plain["facilities"] == ["fac-a"]
    assert facts.plain["consent_id"] == made.consent_id
    rows = database.read(lambda tx: tx.execute(select(log_opening)).all())
    opened = {
        row.field: value_of(keys.sealer.open(row.sealed, opening_context(row.node, row.seq, row.field))) for row in rows
    }
    assert opened["patient"] == patients.identifier(*CITIZEN)
    assert opened["studies"] == ["2.25.77"]
    assert opened["signed_by"] == "Pat Made-Up"
    assert opened["person"] == "staff@hospital.example"
    about = {row.subject for row in database.read(lambda tx: tx.execute(select(log_subject)).all())}
    expected = {
        ("consent", made.consent_id),
        ("patient", patients.identifier(*CITIZEN)),
        ("person", "staff@hospital.example"),
        ("facility", "fac-a"),
        ("study", "2.25.77"),
    }
    assert about == {keys.subject(kind, name) for kind, name in expected}


def test_versions_are_added_and_never_altered(database: Database, log: AuditLog) -> None:
    head = bring_to(database, log, State.ACTIVE)
    first = database.read(register.history, head.consent_id)
    for verb in ("suspend", "resume", "revoke", "enter_in_error"):
        before = database.read(register.history, head.consent_id)
        attempt(database, log, verb, head)
        after = database.read(register.history, head.consent_id)
        assert after[: len(before)] == before
    states = [version.state for version in database.read(register.history, head.consent_id)]
    assert states == [State.ACTIVE, State.SUSPENDED, State.ACTIVE, State.REVOKED, State.ENTERED_IN_ERROR]
    assert first == [head]
    grants = database.read(lambda tx: tx.execute(select(consent_grant.c.version, consent_grant.c.revoked_at)).all())
    assert sorted(map(tuple, grants)) == [(1, NOW), (3, NOW)]  # kept after the end: they are evidence


def test_narrowing_moves_the_epoch_and_widening_does_not(database: Database, log: AuditLog) -> None:
    def moved(change: Callable[..., object], *positional: object, **named: object) -> bool:
        before = database.read(epoch.current)
        database.write(change, log, *positional, **named)
        return database.read(epoch.current) > before

    head = bring_to(database, log, State.ACTIVE)
    assert not moved(register.grant, draft(), by())
    assert moved(register.suspend, head.consent_id, by(), reason="x")
    assert not moved(register.resume, head.consent_id, by(), reason="x")
    assert moved(register.deny, draft(), by())
    assert moved(register.deny, draft(effective_from=NOW + DAY), by())
    assert moved(register.supersede, head.consent_id, draft(), by())
    assert moved(register.revoke, bring_to(database, log, State.ACTIVE).consent_id, by(), reason="x")
    assert moved(register.enter_in_error, bring_to(database, log, State.ACTIVE).consent_id, by(), reason="x")
    ending = bring_to(database, log, State.ACTIVE)
    assert moved(register.expire_due, by(at=ending.effective_until))
    refusal = bring_to(database, log, State.ACTIVE, Effect.DENY)
    assert not moved(register.revoke, refusal.consent_id, by(), reason="x")


def test_whoever_looked_at_an_older_version_is_told(database: Database, log: AuditLog) -> None:
    head = bring_to(database, log, State.ACTIVE)
    attempt(database, log, "suspend", head)
    before = database.read(everything)
    with pytest.raises(ChangedMeanwhile):
        database.write(register.revoke, log, head.consent_id, by(), reason="x", version=1)
    assert database.read(everything) == before
    assert database.write(register.revoke, log, head.consent_id, by(), reason="x", version=2).version == 3


def test_of_many_changes_at_once_one_is_made_and_the_others_are_told(database: Database, log: AuditLog) -> None:
    head = bring_to(database, log, State.ACTIVE)
    other = Database(database.url.render_as_string(hide_password=False))
    try:
        jobs = [
            node.submit(register.revoke, log if node is database else Silent(), head.consent_id, by(), reason="x")
            for node in (database, other) * 6
        ]
        refusals = [job.exception() for job in jobs]
    finally:
        other.close()
    assert refusals.count(None) == 1
    assert {type(refusal) for refusal in refusals if refusal} <= {ChangedMeanwhile, NotInThatState}
    states = [version.state for version in database.read(register.history, head.consent_id)]
    assert states == [State.ACTIVE, State.REVOKED]


def test_a_change_that_was_overtaken_by_another_node_is_told(
    new_database: Callable[[str], Database], keys: KeyRing, tmp_path: Path
) -> None:
    """PostgreSQL alone lets two nodes write at once: both read version 1, and the second one to add 2 is told."""
    database = new_database("postgresql")
    log = AuditLog(database, keys, tmp_path / "held", node="n1", process="p1", clock=lambda: NOW)
    head = bring_to(database, log, State.ACTIVE)
    other = Database(database.url.render_as_string(hide_password=False))

    def suspend_too_late(tx: Connection) -> None:
        chain.head(tx, head.consent_id)
        other.write(register.revoke, Silent(), head.consent_id, by(), reason="first")
        chain.append(tx, replace(head, version=2, state=State.SUSPENDED))

    try:
        with pytest.raises(ChangedMeanwhile):
            database.write(suspend_too_late)
    finally:
        other.close()
    states = [version.state for version in database.read(register.history, head.consent_id)]
    assert states == [State.ACTIVE, State.REVOKED]


class Silent:
    """Another node's log, which is none of this test's business."""

    def append(self, tx: Connection, event: AuditEvent) -> object:
        return None


def test_a_second_check_needs_a_second_person(database: Database, log: AuditLog) -> None:
    waiting = bring_to(database, log, State.PENDING)
    assert database.read(live_grants) == 0
    with pytest.raises(SecondPersonNeeded):
        database.write(register.activate, log, waiting.consent_id, by("first@hospital.example"))
    active = database.write(register.activate, log, waiting.consent_id, by("second@hospital.example"))
    assert active.state is State.ACTIVE
    assert database.read(live_grants) == 1


def test_a_draft_may_be_incomplete_and_may_not_be_submitted_so(database: Database, log: AuditLog) -> None:
    made = database.write(register.prepare, log, draft(facilities=(), purposes=()), Effect.PERMIT, by())
    with pytest.raises(IncompleteConsent) as refused:
        database.write(register.submit, log, made.consent_id, by())
    assert refused.value.missing == ("who may receive", "for which purposes")
    assert database.read(register.get, made.consent_id).state is State.DRAFT


def test_expiry_is_noted_for_active_and_suspended_alike(database: Database, log: AuditLog) -> None:
    active = bring_to(database, log, State.ACTIVE)
    suspended = bring_to(database, log, State.SUSPENDED)
    endless = database.write(register.grant, log, draft(), by())
    assert database.write(register.expire_due, log, by(at=NOW + DAY - 1)) == []
    expired = database.write(register.expire_due, log, by(at=NOW + DAY))
    assert {one.consent_id for one in expired} == {active.consent_id, suspended.consent_id}
    assert {one.state for one in expired} == {State.EXPIRED}
    assert database.write(register.expire_due, log, by(at=NOW + 99 * DAY)) == []
    assert database.read(register.get, endless.consent_id).state is State.ACTIVE


def test_expiry_is_noted_a_part_at_a_time(database: Database, log: AuditLog) -> None:
    for _ in range(5):
        bring_to(database, log, State.ACTIVE)
    found = [len(database.write(register.expire_due, log, by(at=NOW + DAY), limit=2)) for _ in range(4)]
    assert found == [2, 2, 1, 0]


def test_an_ended_consent_does_not_come_back(database: Database, log: AuditLog) -> None:
    suspended = bring_to(database, log, State.SUSPENDED)
    waiting = bring_to(database, log, State.PENDING)
    late = by("second@hospital.example", at=NOW + DAY)
    with pytest.raises(ImproperConsent, match="already ended"):
        database.write(register.resume, log, suspended.consent_id, late, reason="x")
    with pytest.raises(ImproperConsent, match="already ended"):
        database.write(register.activate, log, waiting.consent_id, late)


def test_a_replacement_names_what_it_replaced(database: Database, log: AuditLog) -> None:
    old = bring_to(database, log, State.ACTIVE)
    new = database.write(register.supersede, log, old.consent_id, draft(facilities=("fac-b",)), by())
    assert new.supersedes == f"{old.consent_id}/1"
    assert new.consent_id != old.consent_id
    assert database.read(register.get, old.consent_id).state is State.SUPERSEDED
    database.write(furnish)
    assert contract.opened(database, asked().visible) == {}
    assert contract.opened(database, asked(requester("fac-b")).visible)


def test_a_consent_cannot_be_replaced_by_another_patients(database: Database, log: AuditLog) -> None:
    old = bring_to(database, log, State.ACTIVE)
    with pytest.raises(NotInThatState, match="same patient"):
        database.write(register.supersede, log, old.consent_id, draft(issuer=NEIGHBOUR[1]), by())


def test_consents_are_found_by_number_patient_and_time(database: Database, log: AuditLog) -> None:
    with pytest.raises(UnknownConsent):
        database.read(register.get, "con-none")
    with pytest.raises(UnknownConsent):
        database.read(register.history, "con-none")
    assert database.read(register.list_for_patient, *CITIZEN) == []
    first = database.write(register.grant, log, draft(), by())
    second = database.write(register.deny, log, draft(), by(at=NOW + 1))
    other = database.write(register.grant, log, draft(issuer=NEIGHBOUR[1]), by(at=NOW + 2))
    revoked = database.write(register.revoke, log, first.consent_id, by(at=NOW + 3), reason="x")
    assert database.read(register.list_for_patient, *CITIZEN) == [revoked, second]
    assert database.read(register.list_for_patient, *NEIGHBOUR) == [other]
    assert database.read(register.list_recent) == [revoked, other, second]
    assert database.read(register.list_recent, limit=1, offset=1) == [other]


def test_a_grant_is_every_facility_with_every_purpose_study_and_modality(database: Database, log: AuditLog) -> None:
    said = draft(
        facilities=("fac-a", "fac-b", "fac-a"),
        purposes=(Purpose.TREAT, Purpose.PATRQT),
        scope=Scope(studies=("2.25.1", "2.25.2"), modalities=("CT", "MR")),
    )
    made = database.write(register.grant, log, said, by())
    rows = database.read(lambda tx: tx.execute(select(consent_grant)).all())
    found = sorted((r.facility, r.purpose, r.study_instance_uid, r.modality) for r in rows)
    assert found == sorted(
        product(("fac-a", "fac-b"), ("TREAT", "PATRQT"), ("2.25.1", "2.25.2"), ("CT", "MR")),
    )
    assert len(rows) == made.grants == 16


def test_a_permit_counts_from_its_recording_even_if_it_says_earlier(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    database.write(register.grant, log, draft(effective_from=NOW - 9 * DAY), by())
    assert contract.opened(database, asked(at=NOW - 1).visible) == {}
    assert contract.opened(database, asked(at=NOW).visible)


def test_a_facility_may_be_named_before_it_is_registered(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    database.write(register.grant, log, draft(facilities=("fac-to-come",)), by())
    contract.check_opens_nothing(database, asked(requester("fac-to-come")).visible)


# The register and the rules together


@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_register_leaves_is_what_prose_says(database: Database, log: AuditLog, seed: int) -> None:
    """Changes at random, through the register; then every requester sees what the latest versions say."""
    random = Random(seed)
    made = world.make(seed, consents=100, studies=100, patients=12)
    database.write(world.load_all_but_consents, made)
    for theirs in made.consents.values():
        for one in theirs:
            live(database, log, one, random)
    heads = database.read(register.list_recent, limit=1000)
    by_patient: dict[tuple[str, str], list[Consent]] = {}
    for head in heads:
        by_patient.setdefault((head.patient_id, head.issuer), []).append(head)
    asks = [replace(ask, at=ask.at + 10 * DAY) for ask in world.asks(seed, made, 16)]
    found = database.read(answers, opened_by(CONSENT), asks)
    assert found == [prose.seen(ask, made.images, by_patient) for ask in asks]
    assert {head.state for head in heads} > {State.ACTIVE, State.SUSPENDED, State.REVOKED}
    assert sum(map(len, found)) > 20


def live(database: Database, log: AuditLog, one: Consent, random: Random) -> None:
    """Record a consent like this one, then change it a few times."""
    said = {name: getattr(one, name) for name in draft().__dataclass_fields__}
    until = one.effective_until if one.effective_until == FOREVER else one.effective_until + 10 * DAY
    wanted = replace(draft(), **{**said, "effective_until": until, "basis": Basis.COURT})
    record = register.grant if one.effect is Effect.PERMIT else register.deny
    at = Provenance(by="staff@hospital.example", at=world.EDGES[1], request="r")
    made = database.write(record, log, wanted, at)
    for verb in random.choices(("suspend", "resume", "revoke", "supersede", "nothing", "nothing"), k=2):
        if verb == "nothing":
            continue
        try:
            if verb == "supersede":
                database.write(register.supersede, log, made.consent_id, wanted, at)
            else:
                database.write(VERBS[verb], log, made.consent_id, at, reason="because")
        except NotInThatState:
            continue
