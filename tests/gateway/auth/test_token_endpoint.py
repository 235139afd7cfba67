"""The token endpoint: what a registered facility gets, and what it may ask for."""

from __future__ import annotations

import json

import pytest

from consent import parties
from consent.model import Purpose
from consent.parties import READ_SCOPE, STORE_SCOPE, FacilityState
from gateway.auth.compact_jws import parse_object
from storage.log.event import Kind
from tests.gateway.auth.tokens import unb64

B2B = "hl7-b2b"
TREAT = "urn:oid:2.16.840.1.113883.5.8#TREAT"


@pytest.mark.parametrize("alg", ["RS384", "ES384", "PS384", "PS256", "ES256"])
async def test_a_registered_facility_gets_a_short_lived_token(gateway, partner, registered, alg) -> None:
    answer = await gateway.ask_token(partner.assertion(alg), scope=READ_SCOPE)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, READ_SCOPE)
    assert answer.headers["cache-control"] == "no-store"
    me = (await gateway.whoami(token=body["access_token"])).json()
    assert me["facility"] == registered.client_id
    assert (me["purpose"], me["person"], me["scopes"]) == ("TREAT", "person not stated", [READ_SCOPE])
    assert me["expires_at"] <= gateway.clock() + 300_000_000


async def test_a_token_is_recorded_in_the_transaction_that_uses_its_assertion_up(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    [event] = gateway.events(Kind.TOKEN_ISSUED)
    claims = json.loads(_payload(token))
    assert event["facility"] == registered.client_id
    assert event["credential"] == claims["jti"]
    assert claims["aud"] == claims["iss"] == gateway.public_url
    assert json.loads(_header(token))["typ"] == "at+jwt"


async def test_a_token_says_nothing_of_any_consent(gateway, partner, registered) -> None:
    claims = set(parse_object(_payload(await gateway.token(partner))))
    assert claims == {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope", "purpose_of_use"}


async def test_purpose_and_person_come_from_the_b2b_extension(gateway, partner, registered) -> None:
    said = {
        "version": "1",
        "subject_name": "Dr. Ada Example",
        "subject_id": "urn:oid:2.16.840.1.113883.4.6#1234567893",
        "organization_id": "https://clinic.example",
        "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#HPAYMT"],
    }
    answer = await gateway.ask_token(partner.assertion(extensions={B2B: said}))
    me = (await gateway.whoami(token=answer.json()["access_token"])).json()
    assert me["purpose"] == "HPAYMT"
    assert me["person"] == said["subject_id"]


async def test_purpose_and_person_come_from_the_iua_extension_and_never_the_patient(
    gateway, partner, registered
) -> None:
    said = {
        "subject_name": "Dr. Ada Example",
        "national_provider_identifier": "1234567893",
        "person_id": "the-patient^^^&1.2.3&ISO",
        "purpose_of_use": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HPAYMT"}],
    }
    answer = await gateway.ask_token(partner.assertion(extensions={"ihe_iua": said}))
    token = answer.json()["access_token"]
    me = (await gateway.whoami(token=token)).json()
    assert (me["purpose"], me["person"]) == ("HPAYMT", "1234567893")
    assert b"the-patient" not in _payload(token)


async def test_a_purpose_that_is_not_open_is_refused(gateway, partner, registered) -> None:
    not_open = (["HOPERAT"], ["urn:oid:9.9.9#TREAT"], ["MARKETING"], [TREAT, "HPAYMT"])
    malformed = ([], "", [7], [{"system": "urn:oid:2.16.840.1.113883.5.8"}], [["TREAT"]], None, ["T\n"], ["TREAT"] * 17)
    for purposes in (*not_open, *malformed):
        said = {"version": "1", "purpose_of_use": purposes}
        answer = await gateway.ask_token(partner.assertion(extensions={B2B: said}))
        error = "invalid_grant" if purposes in not_open else "invalid_request"
        assert (answer.status_code, answer.json()["error"]) == (400, error), purposes


@pytest.mark.parametrize("code", ["ETREAT", "BTG"])
async def test_emergency_access_is_off_even_when_the_list_allows_it(gateway, partner, code) -> None:
    gateway.register(partner, purposes=(Purpose.TREAT, Purpose.ETREAT, Purpose.BTG))
    answer = await gateway.ask_token(partner.assertion(extensions={B2B: {"purpose_of_use": [code]}}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_malformed_extension_is_refused_and_not_ignored(gateway, partner, registered) -> None:
    for extensions in (
        [],
        "x",
        {B2B: []},
        {B2B: None},
        {B2B: {"version": "2"}},
        {B2B: {"subject_id": 5}},
        {B2B: {"subject_id": "x" * 600}},
        {B2B: {"subject_name": "two\nlines"}},
        {B2B: {"organization_id": ""}},
        {"ihe_iua": 1},
    ):
        answer = await gateway.ask_token(partner.assertion(extensions=extensions))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), extensions


async def test_two_extensions_that_disagree_are_refused(gateway, partner, registered) -> None:
    both = {B2B: {"purpose_of_use": ["TREAT"]}, "ihe_iua": {"purpose_of_use": {"code": "HPAYMT"}}}
    answer = await gateway.ask_token(partner.assertion(extensions=both))
    assert answer.json()["error"] == "invalid_grant"


async def test_t8_more_scope_than_the_facility_has_is_refused(gateway, partner, registered) -> None:
    wider = [STORE_SCOPE, f"{READ_SCOPE} {STORE_SCOPE}", "system/*.rs", "system/*.*", "system/ImagingStudy.*", "openid"]
    patient = ["patient/ImagingStudy.rs", f"patient/ImagingStudy.rs {READ_SCOPE}"]
    for scope in (*wider, *patient, "system/ImagingStudy.read", READ_SCOPE.upper(), f"{READ_SCOPE}\t", " "):
        answer = await gateway.ask_token(partner.assertion(), scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), scope


async def test_without_a_scope_a_facility_gets_what_it_has(gateway, partner) -> None:
    gateway.register(partner, scopes=(READ_SCOPE, STORE_SCOPE))
    answer = await gateway.ask_token(partner.assertion())
    assert answer.json()["scope"] == f"{READ_SCOPE} {STORE_SCOPE}"
    narrowed = await gateway.ask_token(partner.assertion(), scope=STORE_SCOPE)
    assert narrowed.json()["scope"] == STORE_SCOPE


async def test_a_refusal_to_a_facility_we_know_is_an_event_and_uses_its_assertion_up(
    gateway, partner, registered
) -> None:
    assertion = partner.assertion()
    assert (await gateway.ask_token(assertion, scope=STORE_SCOPE)).json()["error"] == "invalid_scope"
    [event] = gateway.events(Kind.REFUSED)
    assert (event["facility"], event["why"]) == (registered.client_id, "InvalidScope")
    assert (await gateway.ask_token(assertion)).json()["error"] == "invalid_client"


async def test_facilities_that_are_not_active_get_nothing(gateway, partner) -> None:
    facility = gateway.register(partner, state=FacilityState.PENDING)
    assert (await gateway.ask_token(partner.assertion())).status_code == 401
    gateway.database.write(parties.approve, gateway.log, facility.client_id, gateway.provenance())
    assert (await gateway.ask_token(partner.assertion())).status_code == 200
    gateway.database.write(parties.suspend, gateway.log, facility.client_id, gateway.provenance(), reason="test")
    assert (await gateway.ask_token(partner.assertion())).status_code == 401


async def test_a_record_that_cannot_be_written_gives_no_token(gateway, partner, registered) -> None:
    gateway.database.write(lambda tx: tx.exec_driver_sql("ALTER TABLE log_event RENAME TO gone").close())
    assertion = partner.assertion()
    answer = await gateway.ask_token(assertion)
    assert answer.status_code == 503
    assert "access_token" not in answer.text
    assert answer.json()["error"] == "temporarily_unavailable"
    assert answer.headers["retry-after"]
    gateway.database.write(lambda tx: tx.exec_driver_sql("ALTER TABLE gone RENAME TO log_event").close())
    assert (await gateway.ask_token(assertion)).status_code == 200  # nothing was used up either


def _header(token: str) -> bytes:
    return unb64(token.split(".", maxsplit=1)[0])


def _payload(token: str) -> bytes:
    return unb64(token.split(".")[1])
