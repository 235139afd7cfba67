"""What a consent must say (45 CFR 164.508(c)) and cannot say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent import forms, register
from consent.elements import is_date
from consent.errors import ImproperConsent, IncompleteConsent, UnknownForm
from consent.model import FOREVER, Basis, Draft, Effect, Purpose, Scope, Sensitivity, Statement
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.sealing import KeyRing

from .conftest import DAY, NOW, by, draft


@pytest.fixture
def authorization(database: Database, keys: KeyRing) -> Draft:
    return complete(database, keys)


def complete(database: Database, keys: KeyRing) -> Draft:
    """A valid authorization: every element of 164.508(c), and the signed form kept."""
    return draft(
        basis=Basis.AUTHORIZATION,
        information="All imaging studies, also future ones",
        discloser="This hospital",
        effective_until=NOW + 365 * DAY,
        signed_by="Pat Made-Up",
        signed_at=NOW - DAY,
        form_digest=database.write(forms.keep, keys.sealer, b"%PDF a signed form", NOW),
        statements=frozenset(Statement),
    )


def test_an_authorization_with_every_element_is_recorded(
    database: Database, log: AuditLog, authorization: Draft
) -> None:
    made = database.write(register.grant, log, authorization, by())
    assert made.basis is Basis.AUTHORIZATION
    assert database.read(register.get, made.consent_id) == made


WITHOUT = [
    ({"information": " "}, "which information"),
    ({"discloser": ""}, "who discloses"),
    ({"facilities": ()}, "who may receive"),
    ({"purposes": ()}, "for which purposes"),
    ({"purposes": (), "any_purpose": True}, "each purpose by name"),
    ({"effective_until": FOREVER}, "until which date or event"),
    ({"signed_by": ""}, "who signed"),
    ({"signed_at": None}, "when it was signed"),
    ({"form_digest": None}, "the signed form"),
    ({"signer_role": "parent"}, "the representative's authority"),
    ({"statements": frozenset(Statement) - {Statement.REVOCATION}}, "revoke in writing"),
    ({"statements": frozenset(Statement) - {Statement.CONDITIONING}}, "depends on signing"),
    ({"statements": frozenset(Statement) - {Statement.REDISCLOSURE}}, "disclosed again"),
    ({"statements": frozenset(Statement) - {Statement.COPY}}, "given a copy"),
]


@pytest.mark.parametrize("basis", [Basis.AUTHORIZATION, Basis.PART2])
@pytest.mark.parametrize(("left_out", "named"), WITHOUT, ids=[named for _, named in WITHOUT])
def test_an_authorization_that_lacks_one_element_is_refused_by_its_name(
    sqlite_database: Database, keys: KeyRing, basis: Basis, left_out: dict[str, object], named: str
) -> None:
    said = complete(sqlite_database, keys)
    with pytest.raises(IncompleteConsent) as refused:
        sqlite_database.write(register.grant, Deaf(), replace(said, basis=basis, **left_out), by())
    assert len(refused.value.missing) == 1
    assert named in refused.value.missing[0]
    assert named in str(refused.value)


class Deaf:
    """A log that must never be reached."""

    def append(self, tx: object, event: object) -> None:
        raise AssertionError("a refused consent was recorded")


def test_everything_that_is_missing_is_listed_at_once(database: Database) -> None:
    nothing = draft(basis=Basis.AUTHORIZATION, facilities=(), purposes=(), signer_role="guardian")
    with pytest.raises(IncompleteConsent) as refused:
        database.write(register.grant, Deaf(), nothing, by())
    assert len(refused.value.missing) == 13


def test_an_expiry_event_does_for_a_date(database: Database, log: AuditLog, authorization: Draft) -> None:
    said = replace(authorization, effective_until=FOREVER, expiry_event="the end of treatment")
    assert not database.write(register.grant, log, said, by()).ends


def test_a_representative_signs_with_their_authority(database: Database, log: AuditLog, authorization: Draft) -> None:
    said = replace(authorization, signer_role="guardian", authority="appointed by the made-up court")
    assert database.write(register.grant, log, said, by()).authority == "appointed by the made-up court"


def test_a_refusal_is_no_authorization_and_needs_none_of_it(database: Database, log: AuditLog) -> None:
    said = draft(basis=Basis.AUTHORIZATION, purposes=())
    made = database.write(register.deny, log, said, by())
    assert made.effect is Effect.DENY
    assert made.any_purpose


def test_a_form_that_is_not_kept_is_no_form(database: Database, authorization: Draft) -> None:
    with pytest.raises(UnknownForm):
        database.write(register.grant, Deaf(), replace(authorization, form_digest="0" * 64), by())


IMPROPER = [
    {"patient_id": ""},
    {"patient_id": " MADE-UP-1"},
    {"patient_id": "MADE\\UP"},
    {"patient_id": "MADE\nUP"},
    {"patient_id": "M" * 65},
    {"issuer": ""},
    {"facilities": ("*",)},
    {"facilities": ("staff",)},
    {"facilities": ("fac-a", "fac a")},
    {"facilities": ("fac-a' OR 1=1",)},
    {"facilities": tuple(f"fac-{n}" for n in range(251))},
    {"any_facility": True},
    {"any_purpose": True},
    {"purposes": (Purpose.TREAT, Purpose.BTG)},
    {"purposes": (Purpose.ETREAT,)},
    {"scope": Scope(studies=("1.2.3.x",))},
    {"scope": Scope(studies=("1.02.3",))},
    {"scope": Scope(studies=("1." * 40 + "1",))},
    {"scope": Scope(studies=tuple(f"2.25.{n}" for n in range(1001)))},
    {"scope": Scope(modalities=("ct",))},
    {"scope": Scope(modalities=("",))},
    {"scope": Scope(study_from="20240230")},
    {"scope": Scope(study_to="2024-01-01")},
    {"scope": Scope(study_from="20240102", study_to="20240101")},
    {"scope": Scope(sensitivity=Sensitivity.PART2)},
    {"scope": Scope(sensitivity=Sensitivity(1 << 12))},
    {"scope": Scope(studies=tuple(f"2.25.{n}" for n in range(600)), modalities=("CT", "MR", "US", "XA"))},
    {"effective_until": NOW},
    {"effective_from": NOW + DAY, "effective_until": NOW + DAY},
    {"effective_from": -1},
    {"effective_until": FOREVER + 1},
    {"signed_at": NOW + 1},
    {"reason": "x" * 4001},
]


@pytest.mark.parametrize("wrong", IMPROPER, ids=[f"{n}-{'-'.join(said)}" for n, said in enumerate(IMPROPER)])
def test_what_cannot_hold_is_refused_as_permit_and_as_draft(
    sqlite_database: Database, wrong: dict[str, object]
) -> None:
    said = draft(**wrong)
    if isinstance(said.scope, Scope) and len(said.scope.studies) == 600:
        said = replace(said, facilities=tuple(f"fac-{n}" for n in range(5)))  # 600 x 4 x 5 single grants
    with pytest.raises(ImproperConsent):
        sqlite_database.write(register.grant, Deaf(), said, by())
    with pytest.raises(ImproperConsent):
        sqlite_database.write(register.prepare, Deaf(), said, Effect.PERMIT, by())


def test_material_under_part_2_needs_a_consent_on_that_basis(
    database: Database, log: AuditLog, authorization: Draft
) -> None:
    reaching = replace(authorization, scope=Scope(sensitivity=Sensitivity.PART2 | Sensitivity.PSY))
    with pytest.raises(ImproperConsent, match="Part 2"):
        database.write(register.grant, Deaf(), reaching, by())
    made = database.write(register.grant, log, replace(reaching, basis=Basis.PART2), by())
    assert database.read(register.get, made.consent_id).scope.sensitivity == Sensitivity.PART2 | Sensitivity.PSY


@pytest.mark.parametrize("text", ["20240229", "19991231", "00010101"])
def test_a_day_of_the_calendar_is_a_date(text: str) -> None:
    assert is_date(text)


@pytest.mark.parametrize("text", ["20230229", "20241301", "00000101", "2024010", "2024 101", "\uff12\uff10240101", ""])
def test_anything_else_is_none(text: str) -> None:
    assert not is_date(text)
