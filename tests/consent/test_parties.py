"""Outside facilities: registered with public keys only, admitted by staff, shut out at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, RSAKey
from sqlalchemy import select

from consent import keys as key_sets
from consent import parties, register
from consent.errors import ImproperFacility, IncompleteConsent, NotInThatState, UnknownFacility
from consent.model import Purpose
from consent.parties import Facility, FacilityState
from consent.tables import facility
from storage import epoch
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.log.entry import parse
from storage.log.event import Kind
from storage.tables import log_event
from tests.contracts import consent as contract

from .conftest import NOW, by, draft, furnish, requester
from .test_decide import asked
from .test_register import Refuses

EC = ECKey.generate_key("P-256", {"kid": "one"})
RSA = RSAKey.generate_key(2048, {"kid": "two"})


def public(*members: ECKey | RSAKey) -> dict[str, object]:
    return {"keys": [key.as_dict(private=False) for key in members]}


def add(database: Database, log: AuditLog, **said: object) -> Facility:
    usual = {"name": "Made-Up Imaging", "jwks": public(EC), "state": FacilityState.ACTIVE}
    return database.write(parties.add, log, by(), **{**usual, **said})


def facts(database: Database) -> list[dict[str, object]]:
    bodies = database.read(lambda tx: tx.execute(select(log_event.c.body).order_by(log_event.c.seq)).scalars().all())
    return [dict(body.plain) for body in map(parse, map(bytes, bodies)) if body.kind is Kind.FACILITY]


def test_a_facility_is_registered_with_an_id_of_its_own_and_recorded(database: Database, log: AuditLog) -> None:
    made = add(database, log, npi="1234567893", purposes=(Purpose.TREAT, Purpose.HPAYMT))
    assert made.client_id.startswith("fac-")
    assert len(made.client_id) == len("fac-") + 16
    assert database.read(parties.get, made.client_id) == made
    assert made.purposes == (Purpose.TREAT, Purpose.HPAYMT)
    (event,) = facts(database)
    assert event["change"] == "registered"
    assert event["facility"] == made.client_id
    assert event["keys"] == [EC.thumbprint()]
    assert add(database, log, name="Another").client_id != made.client_id


def test_only_an_active_facility_sees_and_suspension_works_at_once(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    made = add(database, log, state=FacilityState.PENDING)
    database.write(register.grant, log, draft(facilities=(made.client_id,)), by())
    visible = asked(requester(made.client_id)).visible
    contract.check_opens_nothing(database, visible)
    assert database.write(parties.approve, log, made.client_id, by()).state is FacilityState.ACTIVE
    assert contract.opened(database, visible)
    before = database.read(epoch.current)
    database.write(parties.suspend, log, made.client_id, by(at=NOW + 5), reason="key lost by Pat Made-Up")
    assert database.read(epoch.current) > before
    contract.check_opens_nothing(database, visible)
    assert database.write(parties.approve, log, made.client_id, by()).state is FacilityState.ACTIVE
    assert contract.opened(database, visible)
    assert [event["change"] for event in facts(database)] == ["registered", "approved", "suspended", "approved"]
    bodies = database.read(lambda tx: tx.execute(select(log_event.c.body)).scalars().all())
    assert not [body for body in bodies if b"Pat Made-Up" in bytes(body)]


def test_a_consent_can_wait_for_its_facility(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    database.write(register.grant, log, draft(facilities=("clinic-by-the-sea",)), by())
    visible = asked(requester("clinic-by-the-sea")).visible
    contract.check_opens_nothing(database, visible)
    add(database, log, client_id="clinic-by-the-sea")
    assert contract.opened(database, visible)


def test_every_registered_facility_is_one_that_is_not_affiliated(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    database.write(register.grant, log, draft(facilities=(), any_facility=True), by())
    outside, inside = add(database, log), add(database, log, affiliated=True)
    assert contract.opened(database, asked(requester(outside.client_id)).visible)
    for believed in (True, False):  # whatever its token says, the register knows better
        claimed = requester(inside.client_id, affiliated=believed)
        contract.check_opens_nothing(database, asked(claimed).visible)
    assert contract.opened(database, asked(requester(outside.client_id, affiliated=True)).visible) == {}


def test_a_purpose_taken_from_a_facility_is_refused_whatever_its_token_says(database: Database, log: AuditLog) -> None:
    database.write(furnish)
    made = add(database, log)
    database.write(register.grant, log, draft(facilities=(made.client_id,), purposes=(), any_purpose=True), by())
    assert contract.opened(database, asked(requester(made.client_id)).visible)
    unlisted = requester(made.client_id, purpose=Purpose.HPAYMT)
    contract.check_opens_nothing(database, asked(unlisted).visible)


def test_keys_are_replaced_and_the_epoch_tells_whoever_remembers_the_old_ones(
    database: Database, log: AuditLog
) -> None:
    made = add(database, log)
    before = database.read(epoch.current)
    changed = database.write(parties.rotate_key, log, made.client_id, by(at=NOW + 9), jwks=public(RSA))
    assert changed.jwks is not None
    assert [key["kid"] for key in changed.jwks["keys"]] == ["two"]
    assert changed.changed_at == NOW + 9
    assert database.read(epoch.current) > before
    addressed = database.write(parties.rotate_key, log, made.client_id, by(), jwks_uri="https://keys.example/jwks")
    assert (addressed.jwks, addressed.jwks_uri) == (None, "https://keys.example/jwks")
    assert [event["keys"] for event in facts(database)] == [[EC.thumbprint()], [RSA.thumbprint()], []]


def test_changes_of_nobody_and_to_the_same_state_are_refused(database: Database, log: AuditLog) -> None:
    made = add(database, log)
    for change, named in (
        (parties.approve, {}),
        (parties.suspend, {"reason": "x"}),
        (parties.rotate_key, {"jwks": public(EC)}),
    ):
        with pytest.raises(UnknownFacility):
            database.write(change, log, "fac-none", by(), **named)
    with pytest.raises(UnknownFacility):
        database.read(parties.get, "fac-none")
    with pytest.raises(NotInThatState):
        database.write(parties.approve, log, made.client_id, by())
    with pytest.raises(IncompleteConsent):
        database.write(parties.suspend, log, made.client_id, by(), reason="")
    with pytest.raises(ImproperFacility, match="already"):
        add(database, log, client_id=made.client_id)
    assert len(facts(database)) == 1


def test_without_its_record_no_facility_changes(database: Database, log: AuditLog) -> None:
    made = add(database, log)
    before = database.read(parties.list_all), database.read(epoch.current)
    changes: list[tuple[Callable[..., object], tuple[object, ...], dict[str, object]]] = [
        (parties.add, (by(),), {"name": "Other", "jwks": public(RSA)}),
        (parties.suspend, (made.client_id, by()), {"reason": "x"}),
        (parties.rotate_key, (made.client_id, by()), {"jwks": public(RSA)}),
    ]
    for change, positional, named in changes:
        with pytest.raises(OSError, match="no space"):
            database.write(change, Refuses(log), *positional, **named)
        assert (database.read(parties.list_all), database.read(epoch.current)) == before


def test_facilities_are_listed_by_name(database: Database, log: AuditLog) -> None:
    for name in ("Beta", "Alpha"):
        add(database, log, name=name)
    assert [one.name for one in database.read(parties.list_all)] == ["Alpha", "Beta"]


IMPROPER: list[dict[str, object]] = [
    {"name": " "},
    {"name": "x" * 201},
    {"name": "two\nlines"},
    {"npi": "1234567890"},
    {"npi": "12345678930"},
    {"npi": "\u0661234567893"},
    {"purposes": ()},
    {"purposes": (Purpose.BTG, Purpose.TREAT)},
    {"scopes": ()},
    {"scopes": ("system/*.*",)},
    {"scopes": ("system/ImagingStudy.rs system/ImagingStudy.cu",)},
    {"client_id": "*"},
    {"client_id": "staff"},
    {"client_id": "fac a"},
    {"state": FacilityState.SUSPENDED},
    {"jwks": None},
    {"jwks_uri": "https://keys.example/jwks"},
    {"jwks": None, "jwks_uri": "http://keys.example/jwks"},
    {"jwks": None, "jwks_uri": "https://user:word@keys.example/jwks"},
    {"jwks": None, "jwks_uri": "https:///jwks"},
    {"jwks": None, "jwks_uri": "https://keys.example/jwks#one"},
    {"jwks": None, "jwks_uri": "https://keys.example:port/jwks"},
    {"jwks": None, "jwks_uri": "https://keys.example/a b"},
    {"jwks": None, "jwks_uri": "file:///etc/passwd"},
    {"jwks": None, "jwks_uri": "http://127.0.0.1.example/jwks"},
]


@pytest.mark.parametrize("wrong", IMPROPER, ids=[f"{n}-{'-'.join(said)}" for n, said in enumerate(IMPROPER)])
def test_a_facility_that_cannot_stand_is_refused(sqlite_database: Database, wrong: dict[str, object]) -> None:
    class Deaf:
        def append(self, tx: object, event: object) -> None:
            raise AssertionError("a refused facility was recorded")

    with pytest.raises(ImproperFacility):
        add(sqlite_database, Deaf(), **wrong)
    assert sqlite_database.read(lambda tx: tx.execute(select(facility)).all()) == []


@pytest.mark.parametrize(
    "address", ["https://keys.example/jwks?v=1", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks"]
)
def test_keys_may_be_at_a_safe_address_or_on_this_machine(address: str) -> None:
    assert key_sets.check_address(address) == address


@pytest.mark.parametrize("npi", ["1234567893", "1245319599"])
def test_an_npi_checks_itself(npi: str) -> None:
    assert parties.is_npi(npi)
    for place in range(10):  # one wrong digit anywhere is seen
        wrong = npi[:place] + str((int(npi[place]) + 1) % 10) + npi[place + 1 :]
        assert not parties.is_npi(wrong)


# Keys


def test_only_what_verification_needs_is_kept() -> None:
    member = {
        **EC.as_dict(private=False),
        "use": "sig",
        "alg": "ES256",
        "x5u": "https://elsewhere.example",
        "note": "x",
    }
    (kept,) = key_sets.public_keys({"keys": [member]})["keys"]
    assert set(kept) == {"kid", "kty", "crv", "x", "y", "use", "alg"}
    assert key_sets.thumbprints({"keys": [kept]}) == [EC.thumbprint()]
    assert key_sets.thumbprints(key_sets.public_keys(public(RSA))) == [RSA.thumbprint()]


def member(**said: object) -> dict[str, object]:
    return {**EC.as_dict(private=False), **said}


REFUSED = [
    EC.as_dict(private=True),
    RSA.as_dict(private=True),
    {**RSA.as_dict(private=False), "d": "AQAB"},
    {**OctKey.generate_key(256).as_dict(private=True), "kid": "x"},
    member(k="secret"),
    member(oth=[]),
    member(kid=""),
    member(kid=7),
    member(kid="x" * 513),
    member(crv="P-521"),
    member(crv=["P-256"]),
    member(x="AA"),
    member(y="not base64url!"),
    member(kty="OKP"),
    member(kty=["EC"]),
    member(use="enc"),
    member(key_ops=["sign"]),
    member(key_ops="verify"),
    member(alg="none"),
    member(alg="HS256"),
    member(alg="RS384"),
    {**RSA.as_dict(private=False), "n": "A" * 170},  # 1020 bits
    {**RSA.as_dict(private=False), "e": "AAAAAAAB"},
    "a key",
    None,
]


@pytest.mark.parametrize("key", REFUSED, ids=range(len(REFUSED)))
def test_a_secret_or_an_unusable_key_is_refused(key: object) -> None:
    with pytest.raises(ImproperFacility):
        key_sets.public_keys({"keys": [key]})


@pytest.mark.parametrize(
    "jwks", [{}, {"keys": []}, {"keys": "x"}, {"keys": {}}, public(EC, EC), {"keys": [member()] * 65}]
)
def test_a_set_has_some_keys_each_named_once(jwks: dict[str, object]) -> None:
    with pytest.raises(ImproperFacility):
        key_sets.public_keys(jwks)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["EC", "RSA", "P-256", "sig"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kty", "kid", "crv", "x", "y", "n", "e", "use", "alg", "key_ops", "d"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON, max_size=3))
def test_whatever_is_handed_in_is_a_key_set_or_refused(members: list[object]) -> None:
    try:
        kept = key_sets.public_keys({"keys": members})
    except ImproperFacility:
        return
    assert not key_sets.SECRET & set(json.dumps(kept))
