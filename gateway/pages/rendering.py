"""Pages as responses: templates that escape everything, and headers that let a page do nothing but show itself."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.pages import wording
from gateway.pages.door import Staff
from gateway.pages.visible_text import shown

HERE: Final = Path(__file__).parent
SHEET: Final = (HERE / "static" / "openpriors.css").read_bytes()
ICON: Final = (HERE / "static" / "openpriors.svg").read_bytes()
VERSION: Final = sha256(SHEET + ICON).hexdigest()[:12]
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
SEE_OTHER: Final = 303
OK: Final = 200


class Pages:
    """Renders the pages of one gateway.

    Parameters
    ----------
    public_url : its path is the prefix of every link
    facility_name : this hospital, as the head of every page names it
    """

    def __init__(self, *, public_url: str, facility_name: str) -> None:
        self.base = urlsplit(public_url).path.rstrip("/")
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            shown=shown, day=wording.day, person=wording.person_name, study=wording.study_title
        )
        self._environment.globals.update(base=self.base, facility_name=facility_name, version=VERSION)

    def page(
        self,
        template: str,
        staff: Staff | None = None,
        *,
        status: int = OK,
        message: str = "",
        error: str = "",
        **facts: object,
    ) -> Response:
        """One page. `message` says what was done, `error` what was not, each in a sentence."""
        session = staff.session if staff else None
        text = self._environment.get_template(template).render(
            person=session.email if session else "",
            csrf=session.csrf if session else "",
            message=message,
            error=error,
            **facts,
        )
        return HTMLResponse(text, status_code=status, headers=HEADERS)

    def onwards(self, path: str, done: str = "") -> Response:
        """To another page, after a form was dealt with; `done` is one of the words that pages have a sentence for."""
        query = f"?{urlencode({'done': done})}" if done else ""
        return RedirectResponse(f"{self.base}{path}{query}", status_code=SEE_OTHER, headers=HEADERS)


def style_sheet() -> Response:
    """The sheet of every page."""
    return _lasting(SHEET, "text/css")


def icon() -> Response:
    """The icon of every page."""
    return _lasting(ICON, "image/svg+xml")


def _lasting(content: bytes, media_type: str) -> Response:
    """What pages name with its version: the address changes when the content does."""
    caching = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(content, media_type=media_type, headers={**HEADERS, **caching})
