"""An assertion counts once: on every node, in every process, and after a restart. Revocation by the facility itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from consent import parties
from gateway.auth.client_assertion import ASSERTION_TYPE
from gateway.auth.replay import KEPT, is_token_revoked, revoke_token, sweep, use_assertion
from gateway.auth.session import IDLE
from storage.database import Database
from storage.log.event import Kind
from tests.gateway.auth.test_bearer import claims_of

USE_IN_ANOTHER_PROCESS = """
import sys
import consent.tables
from gateway.auth.replay import use_assertion
from storage.database import Database

database = Database(sys.argv[1])
print(sum(database.write(use_assertion, "facility", f"jti-{n}", 1_900_000_000_000_000) for n in range(200)))
database.close()
"""


def another(database: Database) -> Database:
    """The same database as another process opens it."""
    return Database(database.url.render_as_string(hide_password=False))


async def test_t5_an_assertion_counts_once_on_all_nodes(make_gateway, database, partner) -> None:
    second = another(database)
    try:
        async with make_gateway(database, node="n1") as one, make_gateway(second, node="n2") as two:
            one.register(partner)
            for first, then in ((one, two), (two, one)):
                assertion = partner.assertion()
                assert (await first.ask_token(assertion)).status_code == 200
                assert (await then.ask_token(assertion)).json()["error"] == "invalid_client"
            assertions = [partner.assertion() for _ in range(10)]
            answers = await asyncio.gather(*(node.ask_token(each) for each in assertions for node in (one, two)))
            assert sorted(answer.status_code for answer in answers) == [200] * 10 + [401] * 10
            assert len(one.events(Kind.TOKEN_ISSUED)) == 12
    finally:
        second.close()


async def test_nodes_that_use_and_revoke_the_same_things_never_wait_for_each_other_in_a_circle(database) -> None:
    second = another(database)
    names = [f"jti-{n}" for n in range(40)]
    try:
        for work, details in ((use_assertion, ("facility",)), (revoke_token, ())):
            there = [database.submit(work, *details, name, 1_900_000_000_000_000) for name in names]
            back = [second.submit(work, *details, name, 1_900_000_000_000_000) for name in reversed(names)]
            done = dict.fromkeys(names, 0)
            for name, future in (*zip(names, there, strict=True), *zip(reversed(names), back, strict=True)):
                done[name] += await asyncio.wrap_future(future)
            assert set(done.values()) == {1}
    finally:
        second.close()


async def test_t5_an_assertion_counts_once_across_a_restart(make_gateway, database, partner) -> None:
    assertion = None
    async with make_gateway(database) as before:
        before.register(partner)
        assertion = partner.assertion()
        token = (await before.ask_token(assertion)).json()["access_token"]
    restarted = another(database)
    try:
        async with make_gateway(restarted) as after:
            assert (await after.ask_token(assertion)).json()["error"] == "invalid_client"
            assert (await after.whoami(token=token)).status_code == 200  # the signing key is kept
    finally:
        restarted.close()


def test_t5_processes_that_race_use_each_assertion_once(database) -> None:
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", USE_IN_ANOTHER_PROCESS, url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    won = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(won) == 200


async def revoke(gateway, partner, token: str, **changed):
    form = {"token": token, "client_assertion_type": ASSERTION_TYPE, "client_assertion": partner.assertion(**changed)}
    async with gateway.browser() as browser:
        return await browser.post("/oauth/revoke", data=form)


async def test_a_facility_ends_its_own_token(gateway_on_both, partner) -> None:
    gateway = gateway_on_both
    gateway.register(partner)
    token = await gateway.token(partner)
    assert (await gateway.whoami(token=token)).status_code == 200
    answer = await revoke(gateway, partner, token)
    assert (answer.status_code, answer.content) == (200, b"")
    gateway.confirm_epoch()
    assert (await gateway.whoami(token=token)).status_code == 401
    [event] = gateway.events(Kind.TOKEN_REVOKED)
    assert event["credential"] == claims_of(token)["jti"]
    assert (await revoke(gateway, partner, token)).status_code == 200
    assert len(gateway.events(Kind.TOKEN_REVOKED)) == 1


async def test_a_token_nobody_knows_is_no_error(gateway, partner, registered) -> None:
    """RFC 7009 2.2: the client cannot do anything about it anyway."""
    over = await gateway.token(partner)
    before = gateway.database.read(lambda tx: is_token_revoked(tx, claims_of(over)["jti"]))
    gateway.clock.forward(400)
    for token in ("nonsense", "a.b.c", over, "x" * 20_000):
        assert (await revoke(gateway, partner, token)).status_code == 200
    assert not before
    assert gateway.events(Kind.TOKEN_REVOKED) == []


async def test_nobody_ends_the_token_of_another(gateway, partner, registered, clock) -> None:
    token = await gateway.token(partner)
    other = type(partner)(clock, partner.keys)
    gateway.register(other, name="Other clinic")
    answer = await revoke(gateway, other, token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    gateway.confirm_epoch()
    assert (await gateway.whoami(token=token)).status_code == 200
    assert [event["why"] for event in gateway.events(Kind.REFUSED)] == ["InvalidGrant"]


async def test_revocation_needs_the_same_proof_as_a_token(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    assert (await revoke(gateway, partner, token, jti=None)).status_code == 401
    assert (await revoke(gateway, partner, token, aud="https://other.example")).status_code == 401
    assertion = partner.assertion(aud=gateway.metadata.revocation_url)
    form = {"token": token, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    async with gateway.browser() as browser:
        assert (await browser.post("/oauth/revoke", data={"token": token})).status_code == 401
        assert (await browser.post("/oauth/revoke", data=form | {"token": ""})).status_code == 400
        assert (await browser.post("/oauth/revoke", data=form)).status_code == 200
        assert (await browser.post("/oauth/revoke", data=form)).status_code == 401  # used up
    assert (await gateway.ask_token(assertion)).status_code == 401


async def test_a_suspended_facility_revokes_nothing(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    gateway.database.write(parties.suspend, gateway.log, registered.client_id, gateway.provenance(), reason="test")
    assert (await revoke(gateway, partner, token)).status_code == 401


def test_what_is_over_is_forgotten_and_nothing_else(database) -> None:
    now = 1_790_000_000_000_000

    def fill(tx) -> None:
        for offset in (-KEPT - 1, -KEPT + 1, 300_000_000):
            assert use_assertion(tx, "facility", f"jti{offset}", now + offset)
            assert revoke_token(tx, f"jti{offset}", now + offset)

    database.write(fill)
    assert database.write(sweep, now, idle=IDLE) == 2
    assert database.write(sweep, now, idle=IDLE) == 0
    assert database.write(use_assertion, "facility", f"jti{-KEPT - 1}", now)
    assert not database.write(use_assertion, "facility", f"jti{-KEPT + 1}", now)
