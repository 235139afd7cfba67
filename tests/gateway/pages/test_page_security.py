"""What an attacker tries against the staff pages, in front of them and through what they show (T33)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Connection, text

from consent import register
from gateway.auth.staff import Role
from storage.log.event import Kind
from tests.gateway.pages.hospital import PASSWORD, Browser, Hospital, served

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def granted(hospital: Hospital) -> int:
    return len(hospital.database.read(register.list_recent))


def grant_form(desk: Browser, clinic: str) -> tuple[str, dict[str, str]]:
    path = f"/patients/{desk.key}/consents"
    return path, {**desk.hidden(path), "facilities": "marked", "facility": clinic, "studies": "every"}


# forged forms


@pytest.mark.parametrize("token", [None, "", "0" * 43, "é" * 43])
def test_a_form_without_the_token_of_its_session_is_refused(
    token: str | None, hospital: Hospital, desk: Browser
) -> None:
    hospital.receive()
    desk.find("P-1")
    path, form = grant_form(desk, hospital.register("Lakeside Clinic"))
    form.pop("csrf")
    if token is not None:
        form["csrf"] = token
    assert desk.post(path, form).status_code == 403
    assert "open the page again" in desk.text
    assert granted(hospital) == 0


def test_a_token_of_another_session_is_refused(
    hospital: Hospital, desk: Browser, browser: Callable[[], Browser]
) -> None:
    hospital.receive()
    other = browser()
    other.sign_in(hospital.employ(Role.ADMIN))
    desk.find("P-1")
    path, form = grant_form(desk, hospital.register("Lakeside Clinic"))
    assert desk.post(path, {**form, **other.hidden("/sign-out")}).status_code == 403
    assert desk.post(path, [*form.items(), ("csrf", "a second one")]).status_code == 403
    assert granted(hospital) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": None, "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": None, "Origin": "null"},
        {"Sec-Fetch-Site": None, "Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_form_from_elsewhere_is_refused_even_with_the_right_token(
    headers: dict[str, str | None], hospital: Hospital, desk: Browser, browser: Callable[[], Browser]
) -> None:
    hospital.receive()
    desk.find("P-1")
    path, form = grant_form(desk, hospital.register("Lakeside Clinic"))
    assert desk.post(path, form, headers=headers).status_code == 403
    assert granted(hospital) == 0
    somebody = browser()
    fields = {"email": "consent@riverside.example", "password": PASSWORD}
    assert somebody.post("/sign-in", fields, headers=headers).status_code == 403
    assert not somebody.session.cookies  # nobody is signed in as the attacker without noticing


def test_other_kinds_of_body_are_no_forms(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    path, form = grant_form(desk, hospital.register("Lakeside Clinic"))
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", ""):
        body = "&".join(f"{name}={quote(value)}" for name, value in form.items())
        assert desk.post(path, body, headers={"Content-Type": kind}).status_code == 400, kind
    assert granted(hospital) == 0


def test_a_change_is_never_made_by_get(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    path, form = grant_form(desk, hospital.register("Lakeside Clinic"))
    desk.get(path, params=form)
    assert desk.path == f"/patients/{desk.key}"
    desk.get("/sign-out")
    assert desk.get("/").status_code == 200
    assert granted(hospital) == 0


def test_a_form_may_be_neither_huge_nor_unreadable(hospital: Hospital, desk: Browser) -> None:
    csrf = desk.hidden("/sign-out")["csrf"]
    plain = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, status in (
        (b"csrf=" + csrf.encode() + b"&patient_id=" + b"x" * 300_000, 413),
        (b"csrf=" + csrf.encode() + b"&a=b" * 3000, 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=%ff%fe", 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=\xff", 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=a%00b&issuer=LOCAL", 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=a%0ab&issuer=LOCAL", 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=" + b"x" * 401, 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=a&patient_id=b", 400),
        (b"csrf=" + csrf.encode() + b"&patient_id=%ed%a0%80", 400),
    ):
        assert desk.post("/patients", body, headers=plain).status_code == status, body[-40:]
        assert desk.page.headers["content-type"].startswith("text/html")
    assert desk.find("P-1").status_code == 200


# sessions


def test_without_a_session_every_page_leads_to_the_sign_in(hospital: Hospital, browser: Callable[[], Browser]) -> None:
    hospital.receive()
    nobody = browser()
    for path in ("/", "/patients", "/patients/1", "/patients/99", "/patients/1/consents"):
        nobody.get(path)
        assert nobody.path == "/sign-in", path
        assert "CITIZEN" not in nobody.page.text
    for path in ("/patients", "/patients/1/consents", "/patients/1/consents/con-1/revoke", "/sign-out"):
        assert nobody.post(path, {"patient_id": "P-1"}).url.startswith(hospital.base + "/sign-in"), path
    assert hospital.events(Kind.DESK_VIEW) == []


def test_a_session_that_somebody_planted_is_not_continued(hospital: Hospital, browser: Callable[[], Browser]) -> None:
    planted = "x" * 43
    victim, attacker = browser(), browser()
    for opened in (victim, attacker):
        opened.session.cookies.set("openpriors", planted, domain="127.0.0.1", path="/")
    victim.sign_in(hospital.employ(Role.CONSENT))
    assert victim.get("/").status_code == 200
    assert victim.path == "/"
    assert victim.session.cookies.get("openpriors") != planted
    attacker.get("/")
    assert attacker.path == "/sign-in"


def test_signing_in_again_gives_another_session(hospital: Hospital, desk: Browser) -> None:
    before, token = desk.session.cookies.get("openpriors"), desk.hidden("/sign-out")["csrf"]
    desk.sign_in("consent@riverside.example")
    assert desk.session.cookies.get("openpriors") != before
    assert desk.hidden("/sign-out")["csrf"] != token


def test_signing_out_ends_the_session_not_only_the_cookie(
    hospital: Hospital, desk: Browser, browser: Callable[[], Browser]
) -> None:
    thief = browser()
    thief.session.cookies.update(desk.session.cookies)
    assert thief.get("/").url == hospital.base + "/"
    desk.submit("/sign-out", {})
    assert "You are signed out" in desk.text
    assert not desk.session.cookies
    thief.get("/")
    assert thief.path == "/sign-in"
    assert "Your session has ended" in thief.text
    assert len(hospital.events(Kind.SIGN_OUT)) == 1


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(
    hospital: Hospital, browser: Callable[[], Browser]
) -> None:
    opened = browser()
    hospital.employ(Role.CONSENT)
    fields = {"email": "consent@riverside.example", "password": PASSWORD}
    answer = opened.post("/sign-in", fields, allow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 303
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie


def test_a_wrong_password_and_an_unknown_address_read_alike(hospital: Hospital, browser: Callable[[], Browser]) -> None:
    opened = browser()
    hospital.employ(Role.CONSENT)
    wrong = opened.sign_in("consent@riverside.example", "not the password").text
    assert opened.page.status_code == 403
    unknown = opened.sign_in("nobody@riverside.example", "not the password").text
    assert opened.page.status_code == 403
    assert wrong == unknown
    assert "do not belong together" in opened.text


# what pages let a browser do


def test_every_answer_forbids_framing_scripts_and_storing(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    answers = [
        desk.get("/"),
        desk.get("/sign-in"),
        desk.get("/patients/1"),
        desk.get("/patients/99"),
        desk.post("/patients", {}),
        desk.get("/patients", allow_redirects=False),
        desk.post("/sign-out", {}, allow_redirects=False),
        desk.post("/sign-in", {"email": "x", "password": "y"}),
    ]
    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"


def test_pages_need_no_script_and_nothing_from_elsewhere(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    page = desk.page.text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", page, re.IGNORECASE)
    addresses = re.findall(r'(?:href|src|action)="([^"]*)"', page)
    assert all(address.startswith(("/", "#main")) and not address.startswith("//") for address in addresses)
    for address in (found for found in addresses if "/static/" in found):
        answer = desk.session.get(f"{hospital.base}{address}", timeout=20)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


def test_what_images_say_is_escaped_wherever_it_is_shown(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(name=f"CITIZEN{EVIL}", description=EVIL[:60])
    hospital.register(f"Clinic {EVIL}")
    desk.find("P-1")
    assert "<script" not in desk.page.text
    assert "<img" not in desk.page.text
    assert "&lt;script&gt;alert(1)" in desk.page.text
    path = f"/patients/{desk.key}/consents"
    desk.submit(path, {"facilities": "every", "studies": "every", "signed_by": EVIL})
    desk.submit(desk.revoke_path(), {"reason": EVIL})
    assert desk.page.status_code == 200
    assert "<script" not in desk.page.text
    desk.find(EVIL)
    assert "<script" not in desk.page.text
    assert 'value="&#34;&gt;&lt;script&gt;' in desk.page.text


def test_letters_that_hide_or_pretend_are_shown_with_marks(hospital: Hospital, desk: Browser) -> None:
    hospital.receive(name="CITIZEN^\u202eENAJ\u200b")
    hospital.receive(patient_id="P-2", name="\u0421ITIZEN^JANE")  # a Cyrillic Es
    desk.find("P-1")
    assert "\u202e" not in desk.page.text
    assert "U+202E" in desk.text
    assert "U+200B" in desk.text
    desk.find("P-2")
    assert "letters of several alphabets" in desk.text


# what must not leave


def test_no_address_and_no_log_line_holds_patient_data(
    hospital: Hospital, desk: Browser, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = ("SECRETNAME", "P-SECRET", "19420913", "1942-09-13", "SECRETSTUDY", "SECRETREASON")
    hospital.receive(patient_id="P-SECRET", name="SECRETNAME^X", birth_date="19420913", description="SECRETSTUDY")
    clinic = hospital.register("Lakeside Clinic")
    seen: list[str] = []
    desk.session.hooks["response"] = [lambda answer, **_: seen.extend([answer.url, *answer.headers.values()])]
    desk.find("P-SECRET")
    desk.submit(f"/patients/{desk.key}/consents", {"facilities": "marked", "facility": clinic, "studies": "every"})
    desk.submit(desk.revoke_path(), {"reason": "SECRETREASON"})
    desk.get("/")
    desk.submit("/patients", {"family_name": "SECRETNAME", "birth_date": "1942-09-13"})
    addresses = re.findall(r'(?:href|action)="([^"]*)"', desk.page.text)
    desk.find("SECRETNAME unknown")
    hospital.database.write(_break, "patient")  # and when the database fails, its words hold what was asked
    desk.get("/")
    assert desk.submit("/patients", {"patient_id": "P-SECRET", "issuer": "SECRETNAME"}).status_code == 503
    output = capfd.readouterr()
    assert "page.failed" in output.out + output.err
    for word in secret:
        assert not any(word in text for text in (*seen, *addresses, output.out, output.err)), word


def _break(tx: Connection, table: str) -> None:
    tx.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))


def test_when_the_look_cannot_be_recorded_nothing_is_shown(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    page = f"/patients/{desk.key}"
    hospital.database.write(_break, "log_event")
    assert desk.get(page).status_code == 503
    assert desk.page.headers["retry-after"]
    assert "CITIZEN" not in desk.page.text
    desk.get("/")
    assert desk.submit("/patients", {"patient_id": "P-404", "issuer": "LOCAL"}).status_code == 503
    assert "known here" not in desk.text


def test_when_a_change_cannot_be_recorded_it_is_not_made(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    path, form = grant_form(desk, hospital.register("Lakeside Clinic"))
    hospital.database.write(_break, "log_event")
    assert desk.post(path, form).status_code == 503
    assert granted(hospital) == 0


def test_an_error_nobody_foresaw_is_a_page_without_a_trace(hospital: Hospital, desk: Browser) -> None:
    hospital.receive()
    desk.find("P-1")
    desk.submit(f"/patients/{desk.key}/consents", {"facilities": "every", "studies": "every"})
    hospital.database.write(lambda tx: tx.execute(text("UPDATE consent SET body = 'no document'")))
    assert desk.get(f"/patients/{desk.key}").status_code == 500
    assert "did not foresee" in desk.text
    assert "Traceback" not in desk.page.text
    assert "CITIZEN" not in desk.page.text


def test_all_links_stand_under_the_path_of_the_public_address(tmp_path: Path) -> None:
    made = Hospital(tmp_path, prefix="/priors")
    with served(made.app(), made.port):
        opened = Browser(made.base)
        opened.sign_in(made.employ(Role.CONSENT))
        made.receive()
        opened.find("P-1")
        assert opened.page.url.startswith(f"{made.base}/patients/")
        addresses = re.findall(r'(?:href|action)="(/[^"]*)"', opened.page.text)
        assert addresses
        assert all(address.startswith("/priors/") for address in addresses)
        opened.submit("/sign-out", {})
        assert opened.page.url == f"{made.base}/sign-in?done=signed-out"
    made.close()
