"""The body of an OAuth request: a small urlencoded form in which nothing stands twice (RFC 6749 3.2)."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from gateway.auth.errors import InvalidRequest

BODY_LIMIT: Final = 64 * 1024  # bytes
FIELDS_LIMIT: Final = 32
CONTENT_TYPE: Final = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """The parameters of an OAuth request; one without a value counts as left out.

    Raises
    ------
    InvalidRequest : another content type, parameters in the address, a repeated one, a second way to authenticate,
        or a body that is too large
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise InvalidRequest(f"The body must be {CONTENT_TYPE}.")
    if request.scope["query_string"]:
        raise InvalidRequest("Parameters belong into the body, never into the address.")
    if "authorization" in request.headers:
        raise InvalidRequest("Authenticate with private_key_jwt alone.")
    return parse_form(await _read_bounded(request))


def parse_form(body: bytes) -> dict[str, str]:
    """The parameters of an urlencoded body; InvalidRequest as `read_form`."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=FIELDS_LIMIT,
        )
    except ValueError as error:
        raise InvalidRequest from error
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidRequest("A parameter stands there twice.")
    return {name: value for name, value in pairs if value}


async def _read_bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise InvalidRequest("The request is too large.")
    return bytes(body)
