"""What a grant form says, read so that a slip of the hand never grants more than was meant."""

from __future__ import annotations

from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from consent.model import FOREVER
from gateway import calendar
from gateway.desk import Wish
from gateway.errors import BadRequest
from gateway.pages.page_form import PageForm

EVERY: Final = "every"  # of the choices `facilities` and `studies`; the other one is `marked`
REPRESENTATIVE: Final = "representative"


def read_wish(form: PageForm, zone: ZoneInfo) -> Wish:
    """The wish that a grant form says.

    Raises
    ------
    BadRequest : the form is incomplete or contradicts itself; the sentence says where
    """
    facilities, any_facility = _choice(form, "facilities", "facility")
    studies, any_study = _choice(form, "studies", "study")
    if not facilities and not any_facility:
        raise BadRequest("Mark at least one facility, or choose every outside facility.")
    if not studies and not any_study:
        raise BadRequest("Mark at least one study, or choose all studies.")
    until, signed_on = _day(form, "until"), _day(form, "signed_on")
    return Wish(
        facilities=facilities,
        any_facility=any_facility,
        studies=studies,
        effective_until=calendar.ends(until, zone) if until else FOREVER,
        signed_by=form.text("signed_by"),
        signer_role=_signer_role(form),
        authority=form.text("authority"),
        signed_at=calendar.begins(signed_on, zone) if signed_on else None,
    )


def _choice(form: PageForm, choice: str, field: str) -> tuple[tuple[str, ...], bool]:
    marked, every = form.several(field), form.text(choice) == EVERY
    if marked and every:
        raise BadRequest(f"Some {choice} are marked although all are chosen; unmark them, or choose only those marked.")
    return marked, every


def _day(form: PageForm, field: str) -> date | None:
    text = form.text(field)
    if not text:
        return None
    return calendar.parse_day(text)


def _signer_role(form: PageForm) -> str:
    if form.text("signer_role") != REPRESENTATIVE:
        return "patient"
    if not form.text("signed_by"):
        raise BadRequest("Name the representative who signed.")
    return REPRESENTATIVE
