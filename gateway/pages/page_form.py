"""The body of a staff form: urlencoded, bounded, and read field by field."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from gateway.errors import BadRequest, TooMuch

BODY_LIMIT: Final = 256 * 1024  # bytes: a form that marks every listed study
FIELDS_LIMIT: Final = 2000
TEXT_LIMIT: Final = 400  # characters of one field
CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
_NO_TEXT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # nobody can type them into one line


@dataclass(frozen=True, slots=True)
class PageForm:
    """The fields of a form, in order; a name may stand several times."""

    fields: Sequence[tuple[str, str]] = ()

    def text(self, name: str) -> str:
        """One line of text without its outer blanks; empty where it was left out.

        Raises
        ------
        BadRequest : it stands twice, is too long, or holds characters that no line of text has
        """
        found = [value.strip() for field, value in self.fields if field == name]
        if len(found) > 1 or any(map(_is_no_line, found)):
            raise BadRequest("A field of the form is too long, or holds characters that it cannot have.")
        return found[0] if found else ""

    def several(self, name: str) -> tuple[str, ...]:
        """Every value of a field that may be marked several times; raises as `text`."""
        found = tuple(value for field, value in self.fields if field == name)
        if any(map(_is_no_line, found)):
            raise BadRequest("A field of the form is too long, or holds characters that it cannot have.")
        return found

    def secret(self, name: str) -> str | None:
        """A value exactly as it was typed, or None where it was left out or stands twice."""
        found = [value for field, value in self.fields if field == name]
        return found[0] if len(found) == 1 else None

    def again(self, name: str) -> str:
        """What to put back into a field when the form is shown again."""
        return self.secret(name) or ""

    def marks(self, name: str) -> frozenset[str]:
        """What to mark again when the form is shown again."""
        return frozenset(value for field, value in self.fields if field == name)


async def read_page_form(request: Request) -> PageForm:
    """The form that a request carries.

    Raises
    ------
    BadRequest : another content type, or a body that is no form
    TooMuch : a body that is too large
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise BadRequest("The form was not sent as a form.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise TooMuch("The form is too large.")
    return parse_page_form(bytes(body))


def parse_page_form(body: bytes) -> PageForm:
    """The fields of an urlencoded body; raises BadRequest as `read_page_form`."""
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_LIMIT)
    except ValueError as error:
        raise BadRequest("The form could not be read.") from error
    return PageForm(fields)


def _is_no_line(text: str) -> bool:
    return len(text) > TEXT_LIMIT or any(unicodedata.category(letter) in _NO_TEXT for letter in text)
