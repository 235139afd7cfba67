"""The staff pages in Chromium: what a person sees, with the keyboard, in light and dark, wide and narrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect, sync_playwright

from gateway.auth.staff import Role
from storage.log.event import Kind
from tests.conftest import find_program
from tests.gateway.pages.hospital import PASSWORD, Hospital

pytestmark = pytest.mark.needs("chromium")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
STATUS_LINE = "the server responded with a status of"  # of a refusal that the test asked for
PICTURES = os.environ.get("OPENPRIORS_TESTS_PICTURES")  # a folder: keep a picture of every page there


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_program("chromium"), args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def page(chromium: Chromium, hospital: Hospital) -> Iterator[Page]:
    context = chromium.new_context(base_url=hospital.base + "/")
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    refused: list[str] = []
    opened.on("console", lambda message: None if STATUS_LINE in message.text else refused.append(message.text))
    opened.on("pageerror", lambda error: refused.append(str(error)))
    yield opened
    context.close()
    assert refused == []  # the content security policy was never in the way


def picture(page: Page, name: str) -> None:
    """Keep pictures of the page in light, dark and narrow, if somebody wants to look."""
    if PICTURES is None:
        return
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}-{width}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def sign_in(page: Page, email: str) -> None:
    page.goto("sign-in")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Find a patient")).to_be_visible()


def test_a_clerk_finds_grants_and_revokes(hospital: Hospital, page: Page) -> None:
    hospital.receive(description="CT head without contrast")
    hospital.receive(date="20230611", modality="MR", description="MR knee left")
    clinic = hospital.register("Lakeside Clinic")
    hospital.register("Hilltop Imaging")
    page.goto("")
    picture(page, "1-sign-in")
    sign_in(page, hospital.employ(Role.CONSENT))
    picture(page, "2-find")
    page.get_by_label("Patient ID").fill("P-1")
    page.get_by_role("button", name="Find by ID").click()
    expect(page.get_by_role("heading", name="CITIZEN, JANE")).to_be_visible()
    expect(page.get_by_text("Nobody outside")).to_be_visible()
    picture(page, "3-patient")
    page.get_by_label("Lakeside Clinic").check()
    page.get_by_label("Only the studies marked:").check()
    page.get_by_label("MR knee left").check()
    page.get_by_label("Until").fill("2029-12-31")
    page.get_by_label("Name of the signer").fill("Jane Citizen")
    picture(page, "4-filled")
    page.get_by_role("button", name="Grant access").click()
    expect(page.get_by_role("status")).to_contain_text("Access was granted")
    row = page.get_by_role("table", name="Consents", exact=True).get_by_role("row").nth(1)
    expect(row).to_contain_text("Lakeside Clinic")
    expect(row).to_contain_text("2029-12-31")
    picture(page, "5-granted")
    row.get_by_text("Revoke…").click()
    picture(page, "6-revoking")
    row.get_by_label("Reason").fill("The patient asked for it")
    row.get_by_role("button", name="Revoke now").click()
    expect(page.get_by_role("status")).to_contain_text("revoked")
    expect(page.get_by_text("Nobody outside")).to_be_visible()
    page.get_by_text("Ended or not in force").click()
    picture(page, "7-revoked")
    changes = [event.plain["change"] for event in hospital.events(Kind.CONSENT)]
    assert changes == ["granted", "revoked"]
    assert hospital.events(Kind.CONSENT)[0].plain["facilities"] == [clinic]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    picture(page, "8-signed-out")


def test_every_page_is_usable_with_the_keyboard_alone(hospital: Hospital, page: Page) -> None:
    hospital.receive()
    hospital.register("Lakeside Clinic")
    email = hospital.employ(Role.CONSENT)
    page.goto("sign-in")
    for typed in (email, "Tab", PASSWORD, "Enter"):  # the first field has the focus from the start
        type_or_press(page, typed)
    expect(page.get_by_role("heading", name="Find a patient")).to_be_visible()
    type_or_press(page, "P-1")
    type_or_press(page, "Enter")
    expect(page.get_by_role("heading", name="CITIZEN, JANE")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab_to(page, "checkbox", "Lakeside Clinic")
    page.keyboard.press("Space")
    tab_to(page, "button", "Grant access")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Access was granted")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")
    for typed in ("Tab", "moved away", "Tab", "Enter"):
        type_or_press(page, typed)
    expect(page.get_by_role("status")).to_contain_text("revoked")


def type_or_press(page: Page, typed: str) -> None:
    if typed in {"Tab", "Enter"}:
        page.keyboard.press(typed)
    else:
        page.keyboard.type(typed)


def tab_to(page: Page, role: str, name: str) -> None:
    wanted = page.get_by_role(role, name=name)  # type: ignore[arg-type]
    for _ in range(40):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"{name} cannot be reached")


# relative luminance and contrast ratio of WCAG 2.2, for every text and every control against what lies behind it
CONTRAST = """
() => {
  const channels = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const poor = [];
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    if (!element.checkVisibility()) continue;
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (own && ratio(channels(style.color).slice(0, 3), behind(element)) < 4.5)
      poor.push(`${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 30)}`);
    const field = element.matches("input:not([type=hidden], [type=radio], [type=checkbox]), select");
    if (field && ratio(channels(style.borderTopColor).slice(0, 3), behind(element.parentElement)) < 3)
      poor.push(`edge of ${element.name}`);
  }
  return poor;
}
"""
UNNAMED = """
() => [...document.querySelectorAll("input:not([type=hidden]), select, button, a")]
  .filter((one) => !(one.labels && one.labels.length) && !one.textContent.trim()).map((one) => one.outerHTML)
"""


def test_every_page_is_readable_in_light_and_dark_and_on_a_narrow_screen(hospital: Hospital, page: Page) -> None:
    hospital.receive(name="CITIZEN^JANE", description="x" * 64)
    hospital.receive(name="CITIZEN^JO\u202eAN", patient_id="P-1", birth_date="19700204", date="")
    hospital.receive(patient_id="P-2")
    clinic = hospital.register("Lakeside Clinic for a Very Long Name and Diagnosticsandmore" * 2)
    sign_in(page, hospital.employ(Role.CONSENT, "somebody.with.a.long.name@radiology.riverside-hospital.example"))
    look(page, "a-find")
    page.get_by_label("Family name").fill("citizen")
    page.get_by_label("Birth date").fill("1970-02-03")
    page.get_by_role("button", name="Find by name").click()
    expect(page.get_by_role("heading", name="Several patients")).to_be_visible()
    look(page, "b-several")
    page.get_by_role("link", name="of P-1").click()
    expect(page.get_by_text("The images do not agree")).to_be_visible()
    page.get_by_role("button", name="Grant access").click()
    expect(page.get_by_role("alert")).to_contain_text("Mark at least one facility")
    look(page, "c-refused")
    page.locator(f"input[value='{clinic}']").check()
    page.get_by_label("Signed by").select_option("representative")
    page.get_by_label("Name of the signer").fill("J. Citizen")
    page.get_by_label("Authority of a representative").fill("mother")
    page.get_by_role("button", name="Grant access").click()
    expect(page.get_by_role("status")).to_contain_text("Access was granted")
    page.get_by_text("Revoke…").click()
    look(page, "d-granted")
    page.get_by_role("table", name="Consents", exact=True).get_by_label("Reason").fill("y" * 80)
    page.get_by_role("button", name="Revoke now").click()
    page.get_by_text("Ended or not in force").click()
    look(page, "e-revoked")
    page.goto("patients/1?done=granted")
    page.get_by_role("button", name="Sign out").click()
    look(page, "f-signed-out")


def look(page: Page, name: str) -> None:
    picture(page, name)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate(CONTRAST) == [], (name, scheme)
    assert page.evaluate(UNNAMED) == [], name
    for width in (320, 400, 700, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (name, width, wide)


def test_an_error_page_looks_like_a_page(hospital: Hospital, page: Page) -> None:
    sign_in(page, hospital.employ(Role.AUDITOR))
    page.get_by_label("Patient ID").fill("P-1")
    with page.expect_response("**/patients") as answer:
        page.get_by_role("button", name="Find by ID").click()
    assert answer.value.status == 403
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    look(page, "g-error")
    page.get_by_role("link", name="Back to the search").click()
    expect(page.get_by_role("heading", name="Find a patient")).to_be_visible()


def test_after_signing_out_the_back_button_shows_no_patient(hospital: Hospital, page: Page) -> None:
    hospital.receive()
    sign_in(page, hospital.employ(Role.CONSENT))
    page.get_by_label("Patient ID").fill("P-1")
    page.get_by_role("button", name="Find by ID").click()
    expect(page.get_by_role("heading", name="CITIZEN, JANE")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out")).to_be_visible()
    for _ in range(2):
        page.go_back()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_text("CITIZEN")).to_have_count(0)


def test_an_impatient_hand_grants_once(hospital: Hospital, page: Page) -> None:
    hospital.receive()
    hospital.register("Lakeside Clinic")
    sign_in(page, hospital.employ(Role.CONSENT))
    page.get_by_label("Patient ID").fill("P-1")
    page.get_by_role("button", name="Find by ID").click()
    page.get_by_label("Lakeside Clinic").check()
    page.get_by_role("button", name="Grant access").click(click_count=4)
    expect(page.get_by_role("status")).to_contain_text("Access was granted")
    page.reload()
    assert len(hospital.events(Kind.CONSENT)) == 1
