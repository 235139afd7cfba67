"""Staff accounts: who may work here, and what happens to their sessions when that changes."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from sqlalchemy import update

from gateway.auth import staff
from gateway.auth.errors import SignInRefused, StaffExists, StaffRefused, UnknownStaff
from gateway.auth.passwords import Passwords
from gateway.auth.staff import Role
from gateway.auth.tables import staff as table
from storage import epoch
from storage.log.event import Kind

EMAIL, PASSWORD = "ada@hospital.example", "correct horse battery staple"


def add(gateway, email: str = EMAIL, role: Role = Role.CONSENT, password: str = PASSWORD) -> staff.StaffAccount:
    hashed = gateway.passwords.hash(password)
    return gateway.database.write(
        staff.add, gateway.log, gateway.provenance(), email=email, role=role, password_hash=hashed
    )


async def test_an_account_is_made_once_and_recorded(gateway_on_both) -> None:
    gateway = gateway_on_both
    account = add(gateway, "  Ada@Hospital.Example ", Role.RECORDS)
    assert (account.email, account.role, account.active) == (EMAIL, Role.RECORDS, True)
    assert account.password.startswith("$argon2id$")
    with pytest.raises(StaffExists):
        add(gateway)
    [event] = gateway.events(Kind.STAFF)
    assert event == {"change": "added", "role": "records"}
    assert [each.email for each in gateway.database.read(staff.list_all)] == [EMAIL]


async def test_an_address_that_is_none_is_refused(gateway) -> None:
    for email in ("", "ada", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\nc", "a" * 260 + "@b.example", "<a@b>"):
        with pytest.raises(StaffRefused):
            add(gateway, email)


async def test_a_password_that_is_too_short_or_too_long_is_refused(gateway) -> None:
    for password in ("", "short", "elevenchars", "x" * 1025):
        with pytest.raises(StaffRefused):
            gateway.passwords.hash(password)


async def test_a_password_is_the_same_on_every_keyboard() -> None:
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    composed, decomposed = "pässword pässword", "pa\u0308ssword pa\u0308ssword"
    assert await passwords.verify(passwords.hash(composed), decomposed)
    assert not await passwords.verify(passwords.hash(composed), composed + "x")
    assert not await passwords.verify(None, composed)
    assert not await passwords.verify("not a hash", composed)
    passwords.close()


async def test_a_hash_is_argon2id_with_the_parameters_of_rfc_9106() -> None:
    passwords = Passwords()
    hashed = passwords.hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await passwords.verify(hashed, PASSWORD)
    passwords.close()


@pytest.mark.parametrize(
    ("change", "details"),
    [
        (staff.close, {}),
        (staff.set_role, {"role": Role.AUDITOR}),
        (staff.set_password, {"password_hash": PasswordHasher(time_cost=1, memory_cost=64).hash("another password")}),
    ],
)
async def test_a_change_of_an_account_ends_its_sessions(gateway, change, details) -> None:
    add(gateway)
    value, _ = await gateway.sign_in.sign_in(EMAIL, PASSWORD, request="r")
    cookie = {"Cookie": f"{gateway.cookie.name}={value}"}
    assert (await gateway.whoami(headers=cookie)).status_code == 200
    before = gateway.database.read(epoch.current)
    gateway.database.write(change, gateway.log, gateway.provenance(), email=EMAIL, **details)
    assert (await gateway.whoami(headers=cookie)).status_code == 401
    assert gateway.database.read(epoch.current) > before  # running downloads are looked at again
    assert len(gateway.events(Kind.STAFF)) == 2


async def test_a_closed_account_signs_nobody_in_and_is_not_changed(gateway) -> None:
    add(gateway)
    gateway.database.write(staff.close, gateway.log, gateway.provenance(), email=EMAIL)
    with pytest.raises(SignInRefused):
        await gateway.sign_in.sign_in(EMAIL, PASSWORD, request="r")
    for email in (EMAIL, "nobody@hospital.example"):
        with pytest.raises(UnknownStaff):
            gateway.database.write(staff.set_role, gateway.log, gateway.provenance(), email=email, role=Role.ADMIN)


async def test_the_session_of_a_closed_account_counts_for_nothing_however_it_was_closed(gateway) -> None:
    add(gateway)
    value, _ = await gateway.sign_in.sign_in(EMAIL, PASSWORD, request="r")
    gateway.database.write(lambda tx: tx.execute(update(table).values(state=staff.CLOSED)).close())
    assert (await gateway.whoami(headers={"Cookie": f"{gateway.cookie.name}={value}"})).status_code == 401
