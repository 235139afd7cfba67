"""The desk's transactions without HTTP, on both databases, and with two nodes at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consent import identities, register
from consent.errors import ChangedMeanwhile, NotInThatState
from consent.model import STAFF, Purpose, Requester, State
from gateway.call import Call
from gateway.desk import Wish
from gateway.errors import BadRequest, NotAllowed, NotAvailable
from storage.database import Database
from storage.log.event import Kind
from tests.gateway.pages.hospital import Hospital, now

FORM = "0123456789abcdef0123456789abcdef"
EVERYBODY = Wish(any_facility=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, new_database: Callable[[str], Database]
) -> Iterator[tuple[Hospital, Hospital]]:
    """Two processes over one database and one data directory."""
    url = None
    if request.param == "postgresql":
        url = new_database("postgresql").url.render_as_string(hide_password=False)
    first, second = (Hospital(tmp_path, database=url) for _ in range(2))
    yield first, second
    second.close()
    first.close()


def call(role: str = "consent", person: str = "clerk@riverside.example") -> Call:
    requester = Requester(
        facility=STAFF,
        facility_name="Riverside Hospital",
        affiliated=True,
        purpose=Purpose.HOPERAT,
        proven="session",
        credential="00",
        expires_at=now() + 60_000_000,
        person=person,
        scopes=frozenset({f"{STAFF}/{role}"}),
    )
    return Call(requester=requester, request=secrets.token_hex(8), began=time.monotonic())


async def test_one_form_on_two_nodes_at_once_records_one_consent(nodes: tuple[Hospital, Hospital]) -> None:
    first, second = nodes
    key = first.bare_patient("P-1")
    for n in range(10):
        form = f"{n:032x}"
        both = await asyncio.gather(
            *(node.desk.grant(call(), key, EVERYBODY, form) for node in (first, second, first, second))
        )
        assert len({consent.consent_id for consent in both}) == 1
    assert len(first.database.read(register.list_for_patient, "P-1", "LOCAL")) == 10
    assert len(first.events(Kind.CONSENT)) == 10


async def test_a_form_stands_for_its_words_its_patient_and_its_person(nodes: tuple[Hospital, Hospital]) -> None:
    desk, key, other = nodes[0].desk, nodes[0].bare_patient("P-1"), nodes[0].bare_patient("P-2")
    granted = [
        await desk.grant(call(), key, EVERYBODY, FORM),
        await desk.grant(call(), other, EVERYBODY, FORM),
        await desk.grant(call(person="other@riverside.example"), key, EVERYBODY, FORM),
        await desk.grant(call(), key, replace(EVERYBODY, signed_by="Jane"), FORM),
    ]
    assert len({consent.consent_id for consent in granted}) == 4
    for form in ("", FORM[:-1], FORM + "0", "x" * 31 + "-"):
        with pytest.raises(BadRequest):
            await desk.grant(call(), key, EVERYBODY, form)


async def test_a_revocation_on_two_nodes_at_once_is_one(nodes: tuple[Hospital, Hospital]) -> None:
    first, second = nodes
    key = first.bare_patient("P-1")
    consent = await first.desk.grant(call(), key, EVERYBODY, FORM)
    outcomes = await asyncio.gather(
        *(node.desk.revoke(call(), key, consent.consent_id, version=1, reason="both") for node in (first, second)),
        return_exceptions=True,
    )
    assert any(not isinstance(outcome, BaseException) for outcome in outcomes)
    assert all(not isinstance(outcome, BaseException) or isinstance(outcome, ChangedMeanwhile) for outcome in outcomes)
    assert len(first.events(Kind.CONSENT)) == 2
    with pytest.raises((ChangedMeanwhile, NotInThatState)):
        await second.desk.revoke(call(), key, consent.consent_id, version=1, reason="another")
    again = await second.desk.revoke(call(), key, consent.consent_id, version=1, reason="both")
    assert again.state is State.REVOKED
    assert len(first.events(Kind.CONSENT)) == 2


async def test_the_file_is_the_patients_and_nobody_elses(nodes: tuple[Hospital, Hospital]) -> None:
    first, second = nodes
    mine = first.receive(patient_id="P-1")
    first.receive(patient_id="P-2")
    first.receive(patient_id="P-1", issuer="ELSEWHERE")
    (patient,) = await second.desk.find(call(), "P-1", "LOCAL")
    file = await second.desk.open(call(), patient.key)
    assert [study.study_instance_uid for study in file.studies] == [mine]
    assert (file.patient.patient_id, file.patient.issuer, file.patient.in_doubt) == ("P-1", "LOCAL", False)
    assert (file.names, file.birth_dates) == (["CITIZEN^JANE"], ["19700203"])
    assert (file.studies[0].series, file.studies[0].instances, file.studies[0].modalities) == (1, 1, ("CT",))


async def test_by_name_and_birth_date_only_who_bears_both_is_found(nodes: tuple[Hospital, Hospital]) -> None:
    desk = nodes[0].desk
    nodes[0].receive(patient_id="P-1", name="Müller^Änne^Maria", birth_date="19700203")
    nodes[0].receive(patient_id="P-2", name="Muller", birth_date="19700203")
    nodes[0].receive(patient_id="P-3", name="Muller^Anne", birth_date="19700204")
    nodes[0].receive(patient_id="P-4", name="Muller^A%e", birth_date="19700203")

    async def found(family: str, given: str, birth_date: str) -> list[str]:
        return sorted(one.patient_id for one in await desk.find_by_name(call(), family, given, birth_date))

    assert await found("MÜLLER", "anne", "19700203") == ["P-1"]
    assert await found("muller", "", "19700203") == ["P-1", "P-2", "P-4"]
    assert await found("muller", "a%", "19700203") == ["P-4"]
    assert await found("muller", "anne", "19700204") == ["P-3"]
    assert await found("mull", "", "19700203") == []
    assert await found("", "anne", "19700203") == []
    assert await found("muller", "anne", "") == []
    assert await found("^", "", "19700203") == []


async def test_a_withdrawn_study_does_not_lead_to_its_patient_by_name(nodes: tuple[Hospital, Hospital]) -> None:
    nodes[0].receive()
    nodes[0].set_study_state("withdrawn")
    assert await nodes[0].desk.find_by_name(call(), "citizen", "jane", "19700203") == []
    (patient,) = await nodes[0].desk.find(call(), "P-1", "LOCAL")
    assert (await nodes[0].desk.open(call(), patient.key)).studies == []


async def test_a_patient_in_doubt_is_shown_as_such(nodes: tuple[Hospital, Hospital]) -> None:
    node = nodes[0]
    key = node.bare_patient("P-1")
    node.database.write(identities.suspend_identities, node.log, [key], node.provenance(), reason="merge")
    assert (await node.desk.open(call(), key)).patient.in_doubt


@pytest.mark.parametrize("role", ["auditor", "", "consent "])
async def test_who_has_no_role_at_the_desk_gets_nothing(role: str, nodes: tuple[Hospital, Hospital]) -> None:
    node = nodes[0]
    node.receive()
    outsider = replace(call().requester, facility="fac-1")
    for asking in (call(role), replace(call(), requester=outsider)):
        for attempt in (
            node.desk.find(asking, "P-1", "LOCAL"),
            node.desk.find_by_name(asking, "CITIZEN", "", "19700203"),
            node.desk.open(asking, 1),
            node.desk.grant(asking, 1, EVERYBODY, FORM),
            node.desk.revoke(asking, 1, "con-1", version=1, reason="x"),
        ):
            with pytest.raises(NotAllowed):
                await attempt
    assert len(node.events(Kind.REFUSED)) == 10
    assert node.events(Kind.DESK_VIEW, Kind.CONSENT) == []


async def test_a_key_of_nobody_is_not_available_and_is_on_record(nodes: tuple[Hospital, Hospital]) -> None:
    node = nodes[0]
    with pytest.raises(NotAvailable):
        await node.desk.open(call(), 77)
    with pytest.raises(NotAvailable):
        await node.desk.grant(call(), 77, EVERYBODY, FORM)
    assert node.events(Kind.REFUSED)[0].plain["why"] == "not-available"
