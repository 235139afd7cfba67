"""The addresses of the staff pages. Each handler reads a form, calls the desk, and shows a page or goes onwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from consent.errors import ConsentError
from gateway import calendar
from gateway.auth.errors import SignInBusy, SignInRefused
from gateway.desk import Desk
from gateway.errors import BadRequest
from gateway.pages.door import Door, Staff
from gateway.pages.page_form import PageForm
from gateway.pages.page_route import page_route
from gateway.pages.rendering import Pages, icon, style_sheet
from gateway.pages.views import Views
from gateway.pages.wish_form import read_wish
from gateway.problems import status_of
from gateway.settings import Settings
from storage.patients import KnownPatient

DONE: Final = {
    "granted": "Access was granted. It counts from now on.",
    "revoked": "The consent was revoked. It stopped counting at once.",
    "signed-out": "You are signed out.",
    "rested": "Your session has ended. Sign in again, and repeat what you were doing.",
}
AGAIN: Final = (BadRequest, ConsentError)  # what a page is shown again for, with the sentence
LARGEST_KEY: Final = 2**63 - 1
Key = Annotated[int, Path(ge=1, le=LARGEST_KEY)]


def router(desk: Desk, door: Door, settings: Settings) -> APIRouter:
    """The staff pages; to be included under the path prefix of `settings.public_url`."""
    pages = Pages(public_url=settings.public_url, facility_name=settings.facility_name)
    zone = ZoneInfo(settings.time_zone)
    views = Views(desk, pages, zone=zone, default_issuer=settings.default_issuer)
    routes = APIRouter(route_class=page_route(pages), include_in_schema=False)
    _add_doors(routes, door, pages)
    _add_search(routes, desk, door, views)
    _add_file(routes, desk, door, views)
    routes.add_api_route("/static/openpriors.css", style_sheet, methods=["GET", "HEAD"])
    routes.add_api_route("/static/openpriors.svg", icon, methods=["GET", "HEAD"])
    return routes


def _add_doors(routes: APIRouter, door: Door, pages: Pages) -> None:
    @routes.get("/sign-in")
    async def sign_in_page(done: str = "") -> Response:
        return pages.page("sign_in.html", message=DONE.get(done, ""))

    @routes.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        try:
            value = await door.sign_in(request)
        except (SignInRefused, SignInBusy) as refusal:
            return pages.page("sign_in.html", status=status_of(refusal), error=str(refusal))
        answer = pages.onwards("/")
        door.cookie.put(answer, value)
        return answer

    @routes.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await door.sign_out(request)
        answer = pages.onwards("/sign-in", "signed-out")
        door.cookie.clear(answer)
        return answer


def _add_search(routes: APIRouter, desk: Desk, door: Door, views: Views) -> None:
    @routes.get("/")
    async def search_page(request: Request) -> Response:
        return views.find(await door.admit(request))

    @routes.get("/patients")
    async def patients(request: Request) -> Response:
        await door.admit(request)
        return views.pages.onwards("/")

    @routes.post("/patients")
    async def search(request: Request) -> Response:
        staff, form = await door.admit_form(request)
        try:
            found = await _search(desk, staff, form, views.default_issuer)
        except AGAIN as error:
            return views.find(staff, form, error)
        if len(found) == 1:
            return views.pages.onwards(f"/patients/{found[0].key}")
        return views.found(staff, form, found)


def _add_file(routes: APIRouter, desk: Desk, door: Door, views: Views) -> None:
    @routes.get("/patients/{key}")
    async def patient(request: Request, key: Key, done: str = "") -> Response:
        return await views.patient(await door.admit(request), key, message=DONE.get(done, ""))

    @routes.get("/patients/{key}/consents")
    @routes.get("/patients/{key}/consents/{consent_id}/revoke")
    async def back(request: Request, key: Key) -> Response:
        """Where a form was shown again; its address alone shows the file."""
        await door.admit(request)
        return views.pages.onwards(f"/patients/{key}")

    @routes.post("/patients/{key}/consents")
    async def grant(request: Request, key: Key) -> Response:
        staff, form = await door.admit_form(request)
        try:
            await desk.grant(staff.call, key, read_wish(form, views.zone), form.text("form"))
        except AGAIN as error:
            return await views.patient(staff, key, error=error, form=form)
        return views.pages.onwards(f"/patients/{key}", "granted")

    @routes.post("/patients/{key}/consents/{consent_id}/revoke")
    async def revoke(request: Request, key: Key, consent_id: str) -> Response:
        staff, form = await door.admit_form(request)
        try:
            version, reason = _version(form), form.text("reason")
            await desk.revoke(staff.call, key, consent_id, version=version, reason=reason)
        except AGAIN as error:
            return await views.patient(staff, key, error=error)
        return views.pages.onwards(f"/patients/{key}", "revoked")


async def _search(desk: Desk, staff: Staff, form: PageForm, default_issuer: str) -> Sequence[KnownPatient]:
    """By PatientID and issuer, or by name and birth date: two things that are known of the patient, always."""
    patient_id, family = form.text("patient_id"), form.text("family_name")
    if patient_id:
        return await desk.find(staff.call, patient_id, form.text("issuer") or default_issuer)
    birth_date = form.text("birth_date")
    if not family or not birth_date:
        raise BadRequest("Give the patient ID, or both the family name and the birth date.")
    born = calendar.parse_day(birth_date).strftime("%Y%m%d")
    return await desk.find_by_name(staff.call, family, form.text("given_name"), born)


def _version(form: PageForm) -> int:
    text = form.text("version")
    if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004 - what an Integer column can hold
        raise BadRequest("The form is not complete; open the page again.")
    return int(text)
