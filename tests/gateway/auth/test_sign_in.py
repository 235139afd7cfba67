"""Signing in, staying signed in, signing out, and forms that come from elsewhere. T33, as far as sessions go."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest
from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import select

from consent.model import Purpose
from gateway.auth.bearer import is_revoked
from gateway.auth.credentials import Credentials, read_credentials
from gateway.auth.errors import ForgedRequest, NotAuthenticated, Reason, SignInBusy, SignInRefused
from gateway.auth.forms_of_ours import FIELD, check_form, check_origin
from gateway.auth.session import open_session
from gateway.auth.sign_in import TRIES
from gateway.auth.staff import Role, find
from gateway.auth.tables import staff_session
from storage.log.event import Kind
from tests.gateway.auth.test_staff import EMAIL, PASSWORD, add

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def desk(gateway) -> FastAPI:
    """The gateway with the sign-in form, one form that changes something, and the way out."""
    app: FastAPI = gateway.app

    @app.post("/sign-in")
    async def sign_in(request: Request, email: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
        try:
            check_origin(request.headers, gateway.public_url)
            value, session = await gateway.sign_in.sign_in(email, password, request=request.state.request_id)
        except (SignInRefused, ForgedRequest) as error:
            return JSONResponse({"detail": str(error)}, status_code=403)
        response = JSONResponse({"csrf": session.csrf, "role": session.role.value})
        gateway.cookie.put(response, value)
        return response

    @app.post("/change")
    async def change(request: Request, csrf: Annotated[str | None, Form()] = None) -> Response:
        session = await gateway.sessions.session(read_credentials(request.scope, gateway.cookie.name))
        try:
            check_form(session, request.headers, csrf, gateway.public_url)
        except ForgedRequest as error:
            return JSONResponse({"detail": str(error)}, status_code=403)
        return Response(status_code=204)

    @app.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        session = await gateway.sessions.session(read_credentials(request.scope, gateway.cookie.name))
        await gateway.sign_in.sign_out(session, request=request.state.request_id)
        response = Response(status_code=204)
        gateway.cookie.clear(response)
        return response

    return app


async def signed_in(browser, **headers: str):
    return await browser.post("/sign-in", data={"email": EMAIL, "password": PASSWORD}, headers=headers)


async def test_a_person_signs_in_works_and_signs_out(gateway, desk) -> None:
    add(gateway, role=Role.CONSENT)
    async with gateway.browser() as browser:
        answer = await signed_in(browser, **SAME_ORIGIN)
        assert (answer.status_code, answer.json()["role"]) == (200, "consent")
        csrf = answer.json()["csrf"]
        me = (await browser.get("/whoami")).json()
        assert (me["facility"], me["person"], me["proven"]) == ("staff", EMAIL, "session")
        assert me["scopes"] == ["staff/consent"]
        assert me["purpose"] == Purpose.HOPERAT.value
        assert (await browser.post("/change", data={FIELD: csrf}, headers=SAME_ORIGIN)).status_code == 204
        stolen = dict(browser.cookies)
        assert (await browser.post("/sign-out")).status_code == 204
        assert dict(browser.cookies) == {}
    async with gateway.browser() as thief:
        thief.cookies.update(stolen)
        assert (await thief.get("/whoami")).status_code == 401
    assert gateway.events(Kind.SIGN_IN) == [{"role": "consent"}]
    assert gateway.events(Kind.SIGN_OUT) == [{"role": "consent"}]


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(gateway, desk) -> None:
    add(gateway)
    async with gateway.browser() as browser:
        cookie = (await signed_in(browser)).headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert cookie.startswith("__Host-openpriors=")
    assert parts == {"httponly", "path=/", "samesite=strict", "secure"}


async def test_a_new_session_has_a_new_name_and_only_its_digest_is_kept(gateway, desk) -> None:
    add(gateway)
    chosen = {"Cookie": f"{gateway.cookie.name}={'a' * 43}"}  # fixation: a name that somebody else chose
    async with gateway.browser() as browser:
        await signed_in(browser, **chosen)
        first = dict(browser.cookies)[gateway.cookie.name]
        await signed_in(browser)
        second = dict(browser.cookies)[gateway.cookie.name]
    assert len({"a" * 43, first, second}) == 3
    rows = gateway.database.read(lambda tx: [bytes(row.digest) for row in tx.execute(select(staff_session))])
    assert len(rows) == 2
    assert all(first.encode() not in row and second.encode() not in row for row in rows)


async def test_a_session_rests_half_an_hour_at_most(gateway, desk) -> None:
    add(gateway)
    async with gateway.browser() as browser:
        await signed_in(browser)
        for _ in range(3):
            gateway.clock.forward(29 * 60)
            assert (await browser.get("/whoami")).status_code == 200
        gateway.clock.forward(30 * 60)
        assert (await browser.get("/whoami")).status_code == 401


async def test_a_session_lives_twelve_hours_at_most(gateway, desk) -> None:
    add(gateway)
    async with gateway.browser() as browser:
        await signed_in(browser)
        for _ in range(12 * 3 - 1):
            gateway.clock.forward(20 * 60)
            assert (await browser.get("/whoami")).status_code == 200
        gateway.clock.forward(20 * 60)
        assert (await browser.get("/whoami")).status_code == 401


async def test_a_made_up_cookie_is_nobody(gateway) -> None:
    for value in ("", "a", "a" * 43, "a" * 44, "../../x" * 7, "'; DROP TABLE staff_session;--", "a" * 5000):
        answer = await gateway.whoami(headers={"Cookie": f"{gateway.cookie.name}={value}"})
        assert answer.status_code == 401


async def test_the_cookie_of_plain_http_counts_for_nothing_over_https(gateway, desk) -> None:
    add(gateway)
    value, _ = await gateway.sign_in.sign_in(EMAIL, PASSWORD, request="r")
    assert (await gateway.whoami(headers={"Cookie": f"openpriors={value}"})).status_code == 401


async def test_wrong_address_wrong_password_and_too_many_tries_are_told_alike(gateway, desk) -> None:
    add(gateway)
    seen = set()
    async with gateway.browser() as browser:
        for email, password in (("nobody@hospital.example", PASSWORD), (EMAIL, "wrong password here")):
            for _ in range(TRIES + 2):
                answer = await browser.post("/sign-in", data={"email": email, "password": password})
                seen.add((answer.status_code, answer.text))
        answer = await signed_in(browser)  # the right password, after too many tries
        seen.add((answer.status_code, answer.text))
    assert len(seen) == 1
    assert len(gateway.events(Kind.SIGN_IN_FAILED)) == TRIES
    await gateway.refusals.flush()
    [counted] = gateway.events(Kind.REFUSALS_COUNTED)
    assert counted == {"sign-in.unknown-staff": TRIES, "sign-in.too-many": 2 + 2 + 1}


async def test_whatever_is_typed_gets_the_same_answer(gateway_on_both) -> None:
    add(gateway_on_both)
    typed = ("", "\x00", f"{EMAIL}\x00", "\u202e" + EMAIL, "x" * 100_000, "ﬀ" * 300, "' OR 1=1 --")
    for email, password in ((each, PASSWORD) for each in typed):
        with pytest.raises(SignInRefused):
            await gateway_on_both.sign_in.sign_in(email, password, request="r")
    with pytest.raises(SignInRefused):
        await gateway_on_both.sign_in.sign_in(EMAIL, PASSWORD + "\x00" * 100_000, request="r")


async def test_tries_are_forgotten_after_a_while_or_a_success(gateway_on_both) -> None:
    gateway = gateway_on_both
    add(gateway)

    async def attempt(password: str) -> bool:
        try:
            await gateway.sign_in.sign_in(EMAIL.upper(), password, request="r")
        except SignInRefused:
            return False
        return True

    for _ in range(3):
        assert not await attempt("wrong password here")
    assert await attempt(PASSWORD)
    for _ in range(TRIES):
        assert not await attempt("wrong password here")
    assert not await attempt(PASSWORD)
    gateway.clock.forward(15 * 60)
    assert await attempt(PASSWORD)


async def test_many_tries_at_once_count_as_many(gateway) -> None:
    add(gateway)
    tries = [gateway.sign_in.sign_in(EMAIL, f"guess number {n}", request="r") for n in range(16)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert all(isinstance(result, SignInRefused) for result in results)
    assert len(gateway.events(Kind.SIGN_IN_FAILED)) == TRIES


async def test_a_crowd_at_the_door_is_told_to_wait(gateway) -> None:
    tries = [gateway.sign_in.sign_in(f"p{n}@hospital.example", "some password", request="r") for n in range(60)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert {type(result) for result in results} == {SignInRefused, SignInBusy}


async def test_an_account_that_changes_while_its_password_is_checked_is_not_let_in(gateway) -> None:
    account = add(gateway)

    def close_meanwhile(tx) -> None:
        from gateway.auth import staff

        staff.close(tx, gateway.log, gateway.provenance(), email=EMAIL)

    gateway.database.write(close_meanwhile)
    with pytest.raises(SignInRefused):
        gateway.database.write(gateway.sign_in._open, account, "r")


async def test_forms_from_elsewhere_are_refused(gateway, desk) -> None:
    own = "https://gateway.hospital.example"
    taken = ({}, SAME_ORIGIN, {**SAME_ORIGIN, "Origin": own}, {"Origin": own})
    refused = (
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": own},
        {"Origin": "null"},
        {"Origin": "http://gateway.hospital.example"},
        {"Origin": f"{own}.evil.example"},
        {"Origin": f"{own}:8443"},
        {"Origin": ""},
    )
    add(gateway)
    async with gateway.browser() as browser:
        csrf = (await signed_in(browser)).json()["csrf"]
        for headers in (*taken, *refused):
            answer = await browser.post("/change", data={FIELD: csrf}, headers=headers)
            assert answer.status_code == (204 if headers in taken else 403), headers
            # the sign-in form, which has no session yet, is held to the same
            attempt = await browser.post("/sign-in", data={"email": "x", "password": "y"}, headers=headers)
            assert attempt.status_code == 403
            assert ("form" in attempt.text) == (headers in refused), headers


async def test_a_form_carries_the_token_of_its_own_session(gateway, desk) -> None:
    add(gateway)
    add(gateway, "eve@hospital.example")
    _, other = await gateway.sign_in.sign_in("eve@hospital.example", PASSWORD, request="r")
    async with gateway.browser() as browser:
        csrf = (await signed_in(browser)).json()["csrf"]
        for wrong in (None, "", csrf[:-1], csrf + "x", csrf.swapcase(), other.csrf, "\udce9", "é" * 43):
            form = {} if wrong is None else {FIELD: wrong.encode("utf-8", "replace").decode()}
            assert (await browser.post("/change", data=form, headers=SAME_ORIGIN)).status_code == 403


async def test_a_session_survives_a_restart_and_is_seen_by_other_nodes(make_gateway, database) -> None:
    async with make_gateway(database, node="n1") as one:
        add(one)
        value, session = await one.sign_in.sign_in(EMAIL, PASSWORD, request="r")
        async with make_gateway(database, node="n2") as two:
            credentials = Credentials(session=value)
            requester = await two.sessions.authenticate(credentials)
            assert requester.person == EMAIL
            assert not two.database.read(is_revoked, requester)
            await one.sign_in.sign_out(session, request="r")
            await one.sign_in.sign_out(session, request="r")
            assert two.database.read(is_revoked, requester)
            with pytest.raises(NotAuthenticated) as refused:
                await two.sessions.authenticate(credentials)
            assert refused.value.reason is Reason.REVOKED
            assert len(two.events(Kind.SIGN_OUT)) == 1


async def test_the_name_of_a_session_is_256_random_bits(gateway) -> None:
    account = add(gateway)
    names = {gateway.database.write(open_session, account, gateway.clock())[0] for _ in range(50)}
    assert len(names) == 50
    assert {len(name) for name in names} == {43}
    assert gateway.database.read(find, EMAIL) == account
