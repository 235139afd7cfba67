"""The pages that more than one handler shows: the search, and a patient's file."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from gateway.desk import CHANGE_SCOPES, FORM_LENGTH, Desk
from gateway.pages.door import Staff
from gateway.pages.page_form import PageForm
from gateway.pages.rendering import Pages
from gateway.pages.wording import consent_lines
from gateway.problems import status_of
from storage.patients import KnownPatient

NOT_KNOWN = "No patient with these particulars is known here. Check how they are written, and who issued the ID."


class Views:
    """Shows pages, afresh or again with what was typed and why it could not be done.

    Parameters
    ----------
    default_issuer : who issued an ID when nobody says otherwise
    """

    def __init__(self, desk: Desk, pages: Pages, *, zone: ZoneInfo, default_issuer: str) -> None:
        self.desk = desk
        self.pages = pages
        self.zone = zone
        self.default_issuer = default_issuer

    def find(self, staff: Staff, form: PageForm | None = None, error: Exception | None = None) -> Response:
        """The search for a patient."""
        return self._find(staff, form or PageForm(), (), _refusal(error))

    def found(self, staff: Staff, form: PageForm, patients: Sequence[KnownPatient]) -> Response:
        """The search with what it found: several patients to choose from, or nobody."""
        return self._find(staff, form, patients, {"message": "" if patients else NOT_KNOWN})

    async def patient(
        self, staff: Staff, key: int, *, message: str = "", error: Exception | None = None, form: PageForm | None = None
    ) -> Response:
        """One patient's file; the look is recorded before this answers."""
        file = await self.desk.open(staff.call, key)
        return self.pages.page(
            "patient.html",
            staff,
            message=message,
            **_refusal(error),
            file=file,
            consents=consent_lines(file, self.zone),
            may_change=not CHANGE_SCOPES.isdisjoint(staff.call.requester.scopes),
            form=form or PageForm(),
            form_number=secrets.token_hex(FORM_LENGTH // 2),
        )

    def _find(
        self, staff: Staff, form: PageForm, patients: Sequence[KnownPatient], said: Mapping[str, Any]
    ) -> Response:
        asked = {"form": form, "default_issuer": self.default_issuer, "patients": patients}
        return self.pages.page("find.html", staff, **{**said, **asked})


def _refusal(error: Exception | None) -> dict[str, Any]:
    return {} if error is None else {"status": status_of(error), "error": str(error)}
