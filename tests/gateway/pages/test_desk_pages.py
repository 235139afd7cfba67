"""Finding a patient, looking at their file, granting and revoking, as staff do it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consent import parties, register
from consent.model import FOREVER, Action, Consent, Purpose, Scope, Sensitivity, State
from consent.parties import FacilityState
from gateway.auth.staff import Role
from storage.log.event import Kind
from tests.gateway.pages.hospital import Browser, Hospital, now

GRANT = {"facilities": "marked", "studies": "every"}


def consents(hospital: Hospital, patient_id: str = "P-1") -> list[Consent]:
    return list(hospital.database.read(register.list_for_patient, patient_id, "LOCAL"))


def grant(browser: Browser, **fields: object) -> None:
    browser.submit(f"/patients/{browser.key}/consents", {**GRANT, **fields})


# finding


def test_a_patient_is_found_by_identifier_and_issuer(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    hospital.receive(issuer="ELSEWHERE", name="OTHER^PERSON")
    assert desk.find("P-1").status_code == 200
    assert "CITIZEN, JANE" in desk.text
    assert "OTHER" not in desk.text
    assert desk.find("P-1", "ELSEWHERE").status_code == 200
    assert "OTHER, PERSON" in desk.text


def test_somebody_unknown_is_told_in_a_sentence_and_what_was_typed_stays(hospital: Hospital, desk: Browser) -> None:
    assert desk.find("P-404").status_code == 200
    assert desk.path == "/patients"
    assert "No patient with these particulars is known here" in desk.text
    assert 'value="P-404"' in desk.page.text
    assert hospital.events(Kind.DESK_VIEW)[-1].plain["found"] == 0


def test_name_and_birth_date_find_a_patient_and_neither_does_alone(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(name="Citizen^Jane^Q", birth_date="19700203")
    for family, given, born, is_found in (
        ("citizen", "jane", "1970-02-03", True),
        ("CITIZEN", "", "1970-02-03", True),
        ("Citizen", "J", "1970-02-03", True),
        ("Citizen", "Jane", "1970-02-04", False),
        ("Citize", "", "1970-02-03", False),
        ("Citizen", "John", "1970-02-03", False),
        ("%", "", "1970-02-03", False),
        ("*", "", "1970-02-03", False),
        ("_itizen", "", "1970-02-03", False),
    ):
        desk.get("/")
        desk.submit("/patients", {"family_name": family, "given_name": given, "birth_date": born})
        assert ("/patients/" in desk.page.url) is is_found, (family, given, born)
    for fields in ({"family_name": "Citizen"}, {"birth_date": "1970-02-03"}, {}):
        desk.get("/")
        assert desk.submit("/patients", fields).status_code == 400
        assert "both the family name and the birth date" in desk.text


def test_patients_of_the_same_name_and_birth_date_are_told_apart_by_identifier(
    hospital: Hospital, desk: Browser
) -> None:
    hospital.receive(patient_id="P-1")
    hospital.receive(patient_id="P-2")
    hospital.receive(patient_id="P-3", birth_date="19700204")
    desk.get("/")
    desk.submit("/patients", {"family_name": "citizen", "given_name": "", "birth_date": "1970-02-03"})
    assert "Several patients bear this name" in desk.text
    assert "P-1" in desk.text
    assert "P-2" in desk.text
    assert "P-3" not in desk.text
    assert sorted(hospital.events(Kind.DESK_VIEW)[-1].sealed["patients"]) == ["P-1^^^LOCAL", "P-2^^^LOCAL"]


def test_a_date_that_is_none_is_told_in_a_sentence(desk: Browser) -> None:
    desk.get("/")
    assert desk.submit("/patients", {"family_name": "C", "birth_date": "3/2/70"}).status_code == 400
    assert "is not a date" in desk.text


# looking


def test_the_file_shows_studies_and_every_look_is_recorded_first(hospital: Hospital, desk: Browser) -> None:
    study = hospital.receive(description="Head", date="20240102", modality="CT")
    desk.find("P-1")
    assert "2024-01-02 CT Head" in desk.text
    assert study in desk.text
    sought, viewed = hospital.events(Kind.DESK_VIEW)
    assert (sought.plain["what"], viewed.plain["what"]) == ("find", "file")
    assert viewed.plain["studies"] == 1
    assert viewed.sealed["patient"] == "P-1^^^LOCAL"
    assert viewed.sealed["studies"] == [study]
    assert viewed.sealed["person"] == "consent@riverside.example"
    assert ("patient", "P-1^^^LOCAL") in viewed.subjects


def test_a_patient_without_studies_looks_sensible(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(patient_id="P-1")
    desk.find("P-1")
    grant(desk, facility=hospital.register("Lakeside Clinic"))
    hospital.bare_patient("P-7")
    desk.find("P-7")
    assert "A patient without images here" in desk.text
    assert "No study of this patient is held here" in desk.text
    assert "Nobody outside: no consent counts" in desk.text


def test_images_that_disagree_about_the_patient_are_pointed_out(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(name="CITIZEN^JANE", date="20240102")
    hospital.receive(name="CITIZEN^JOAN", date="20230102")
    desk.find("P-1")
    assert "The images do not agree on who this is: CITIZEN, JANE or CITIZEN, JOAN" in desk.text


def test_an_address_of_nobody_is_a_page_that_says_so(desk: Browser) -> None:
    for path in ("/patients/99", "/patients/0", "/patients/abc", f"/patients/{2**63}", "/patients/-1"):
        assert desk.get(path).status_code == 404, path
        assert desk.page.headers["content-type"].startswith("text/html")
        assert "Nothing is available" in desk.text


# granting


def test_a_grant_counts_and_is_shown(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    clinic = hospital.register("Lakeside Clinic")
    desk.find("P-1")
    grant(desk, facility=clinic, until="2029-12-31", signed_by="Jane Citizen", signed_on="2026-01-05")
    assert desk.page.status_code == 200
    assert "Access was granted" in desk.text
    assert "Lakeside Clinic All studies, also future ones For treatment" in desk.text
    assert "signed by Jane Citizen on 2026-01-05" in desk.text
    assert "to 2029-12-31" in desk.text
    (consent,) = consents(hospital)
    assert consent.facilities == (clinic,)
    assert consent.effective_until == 1_893_456_000_000_000  # 2030-01-01T00:00Z: the whole of the last day
    assert (consent.recorded_by, consent.basis.value) == ("consent@riverside.example", "policy")
    (event,) = hospital.events(Kind.CONSENT)
    assert event.plain["consent_id"] == consent.consent_id


def test_a_grant_may_name_studies_and_every_outside_facility(hospital: Hospital, desk: Browser) -> None:
    first = hospital.receive(date="20240102", description="Head")
    hospital.receive(date="20230102", description="Knee", modality="MR")
    desk.find("P-1")
    grant(desk, facilities="every", studies="marked", study=first)
    (consent,) = consents(hospital)
    assert consent.any_facility
    assert consent.scope.studies == (first,)
    assert consent.effective_until == FOREVER
    assert "Every registered outside facility 2024-01-02 · CT · Head" in desk.text


def test_only_active_outside_facilities_are_offered_and_taken(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    own = hospital.register("Our own ward", affiliated=True)
    pending = hospital.register("Still pending", state=FacilityState.PENDING)
    desk.find("P-1")
    assert own not in desk.page.text
    assert pending not in desk.page.text
    for facility in (own, pending, "fac-made-up", "*", "staff"):
        grant(desk, facility=facility)
        assert desk.page.status_code == 400, facility
        assert "not an active outside facility" in desk.text
    assert consents(hospital) == []


def test_a_slip_of_the_hand_grants_nothing_and_keeps_what_was_typed(hospital: Hospital, desk: Browser) -> None:
    study = hospital.receive()
    clinic = hospital.register("Lakeside Clinic")
    desk.find("P-1")
    for fields, sentence in (
        ({}, "Mark at least one facility"),
        ({"facility": clinic, "facilities": "every"}, "Some facilities are marked although all are chosen"),
        ({"facility": clinic, "studies": "marked"}, "Mark at least one study"),
        ({"facility": clinic, "study": study}, "Some studies are marked although all are chosen"),
        ({"facility": clinic, "until": "2020-01-01"}, "has already ended"),
        ({"facility": clinic, "until": "soon"}, "'soon' is not a date"),
        ({"facility": clinic, "until": "9999-12-31"}, "is not a date between the years"),
        ({"facility": clinic, "signed_on": "2150-01-01"}, "signed in the future"),
        ({"facility": clinic, "signer_role": "representative"}, "Name the representative"),
        ({"facility": clinic, "studies": "marked", "study": "1.2.3"}, "not among those held"),
        ({"facility": clinic, "form": ""}, "The form is not complete"),
    ):
        grant(desk, signer_name="", **fields)
        assert desk.page.status_code == 400, fields
        assert sentence in desk.text
    assert consents(hospital) == []
    grant(desk, facility=clinic, until="2020-01-01", signed_by='Jane "J" Citizen')
    assert f'value="{clinic}" checked' in desk.page.text
    assert 'value="2020-01-01"' in desk.page.text
    assert 'value="Jane &#34;J&#34; Citizen"' in desk.page.text


def test_studies_of_another_patient_cannot_be_granted(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(patient_id="P-1")
    others = hospital.receive(patient_id="P-2")
    clinic = hospital.register("Lakeside Clinic")
    desk.find("P-1")
    grant(desk, facility=clinic, studies="marked", study=others)
    assert desk.page.status_code == 400
    assert consents(hospital) == []


def test_the_same_form_sent_twice_grants_once(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    clinic = hospital.register("Lakeside Clinic")
    desk.find("P-1")
    path = f"/patients/{desk.key}/consents"
    form = {**GRANT, **desk.hidden(path), "facility": clinic}
    assert "Access was granted" in desk.post(path, form).text
    assert "Access was granted" in desk.post(path, form).text
    assert len(consents(hospital)) == 1
    assert len(hospital.events(Kind.CONSENT)) == 1
    desk.post(path, {**form, "until": "2029-12-31"})  # other words are another consent
    assert len(consents(hospital)) == 2


def test_a_form_whose_consent_was_revoked_does_not_pretend_to_grant(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    clinic = hospital.register("Lakeside Clinic")
    desk.find("P-1")
    path = f"/patients/{desk.key}/consents"
    form = {**GRANT, **desk.hidden(path), "facility": clinic}
    desk.post(path, form)
    desk.submit(desk.revoke_path(), {"reason": "asked for it"})
    assert desk.post(path, form).status_code == 409
    assert "This form was sent before" in desk.text
    assert [consent.state for consent in consents(hospital)] == [State.REVOKED]


# revoking


def test_a_revocation_ends_the_consent_and_says_why(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    grant(desk, facility=hospital.register("Lakeside Clinic"))
    path = desk.revoke_path()
    form = {**desk.hidden(path), "reason": "The patient asked for it"}
    assert "It stopped counting at once" in desk.post(path, form).text
    assert "Nobody outside: no consent counts" in desk.text
    assert "revoked The patient asked for it" in desk.text
    assert "It stopped counting at once" in desk.post(path, form).text  # sent twice, done once
    assert [event.plain["change"] for event in hospital.events(Kind.CONSENT)] == ["granted", "revoked"]


def test_a_revocation_needs_a_reason(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    grant(desk, facility=hospital.register("Lakeside Clinic"))
    assert desk.submit(desk.revoke_path(), {"reason": "  "}).status_code == 400
    assert "does not say: the reason" in desk.text
    assert consents(hospital)[0].state is State.ACTIVE


def test_two_people_who_change_one_consent_are_told(
    hospital: Hospital, desk: Browser, browser: Callable[[], Browser]
) -> None:
    hospital.receive()
    desk.find("P-1")
    grant(desk, facility=hospital.register("Lakeside Clinic"))
    other = browser()
    other.sign_in(hospital.employ(Role.ADMIN))
    other.get(f"/patients/{desk.key}")
    desk.submit(desk.revoke_path(), {"reason": "mine"})
    assert other.submit(other.revoke_path(), {"reason": "theirs"}).status_code == 409
    assert "Somebody else changed this consent in the meantime" in other.text
    assert "revoked mine" in other.text
    assert len(hospital.events(Kind.CONSENT)) == 2


def test_a_consent_is_revoked_from_its_own_patient_only(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(patient_id="P-1")
    hospital.receive(patient_id="P-2")
    desk.find("P-2")
    second = desk.key
    desk.find("P-1")
    grant(desk, facility=hospital.register("Lakeside Clinic"))
    path = desk.revoke_path()
    form = {**desk.hidden(path), "reason": "x"}
    assert desk.post(path.replace(f"/patients/{desk.key}/", f"/patients/{second}/"), form).status_code == 404
    assert desk.post(path.replace("con-", "con-0"), form).status_code == 404
    assert desk.post(path, {**form, "version": "x"}).status_code == 400
    assert consents(hospital)[0].state is State.ACTIVE


# roles


@pytest.mark.parametrize("role", [Role.CONSENT, Role.ADMIN])
def test_who_keeps_consents_changes_them(role: Role, hospital: Hospital, browser: Callable[[], Browser]) -> None:
    hospital.receive()
    opened = browser()
    opened.sign_in(hospital.employ(role))
    opened.find("P-1")
    grant(opened, facility=hospital.register("Lakeside Clinic"))
    assert len(consents(hospital)) == 1


def test_who_keeps_records_looks_but_changes_nothing(
    hospital: Hospital, desk: Browser, browser: Callable[[], Browser]
) -> None:
    hospital.receive()
    clinic = hospital.register("Lakeside Clinic")
    desk.find("P-1")
    grant(desk, facility=clinic)
    revoke, form = desk.revoke_path(), {"reason": "x", "version": "1"}
    records = browser()
    records.sign_in(hospital.employ(Role.RECORDS))
    records.find("P-1")
    assert "Lakeside Clinic" in records.text
    assert "Your role looks at consents; it does not change them" in records.text
    csrf = records.hidden("/sign-out")
    path = f"/patients/{records.key}/consents"
    assert records.post(path, {**csrf, **GRANT, "facility": clinic, "form": "0" * 32}).status_code == 403
    assert "not allowed" in records.text
    assert records.post(revoke, {**csrf, **form}).status_code == 403
    assert [event.plain["what"] for event in hospital.events(Kind.REFUSED)] == ["grant", "revoke"]
    assert [consent.state for consent in consents(hospital)] == [State.ACTIVE]


def test_an_auditor_sees_no_patient(hospital: Hospital, browser: Callable[[], Browser]) -> None:
    hospital.receive()
    auditor = browser()
    auditor.sign_in(hospital.employ(Role.AUDITOR))
    for answer in (auditor.find("P-1"), auditor.find("P-404"), auditor.get("/patients/1"), auditor.get("/patients/9")):
        assert answer.status_code == 403
        assert "CITIZEN" not in answer.text
    auditor.get("/")
    auditor.submit("/patients", {"family_name": "CITIZEN", "birth_date": "1970-02-03"})
    assert auditor.page.status_code == 403
    assert [event.plain["why"] for event in hospital.events(Kind.REFUSED)] == ["role"] * 5
    assert hospital.events(Kind.DESK_VIEW) == []


# what others recorded


def test_every_kind_of_consent_is_shown_for_what_it_is(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    clinic = hospital.register("Lakeside Clinic")
    hospital.record(facilities=("fac-not-here",), scope=Scope(modalities=("CT", "MR"), study_from="20200101"))
    hospital.record(facilities=(clinic,), scope=Scope(sensitivity=Sensitivity.HIV), actions=Action.SEARCH)
    earlier = now() - 3600_000_000
    hospital.record(facilities=(clinic,), effective_until=earlier + 1, at=earlier, purposes=(Purpose.HPAYMT,))
    hospital.record(register.deny, any_facility=True, purposes=())
    suspended = hospital.record(facilities=(clinic,), signer_role="representative", signed_by="J.", authority="mother")
    hospital.database.write(
        register.suspend, hospital.log, suspended.consent_id, hospital.provenance("somebody"), reason="a doubt"
    )
    hospital.database.write(
        parties.suspend, hospital.log, clinic, hospital.provenance("somebody"), reason="not to be trusted"
    )
    desk.find("P-1")
    for words in (
        "fac-not-here (not registered) All studies, also future ones only CT, MR only dated from 2020-01-01",
        "Lakeside Clinic (suspended) All studies, also future ones sensitive: HIV For treatment search only",
        "Never: Everybody All studies, also future ones For every purpose",
        "signed by J., mother",
        "suspended a doubt",
        "Ended or not in force (1)",
        "For payment",
    ):
        assert words in desk.text, words
    assert desk.text.count("expired") == 1
    assert desk.page.text.count('class="state counts"') == 3
    assert desk.page.text.count("Revoke now") == 4
