"""QIDO-RS: the six search resources (PS3.18 10.6).

The objects come from the catalog ready made, one attribute a line; here they get the RetrieveURL, which only the edge
knows. An empty answer is `200 []` (CP-2473). That more rows can be requested is said with a lower bound: the exact
number would cost more than the answer (PS3.18 8.3.4.4.1).
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.dicomweb.accept import Offer, negotiate
from gateway.dicomweb.query_string import Search, parse
from gateway.dicomweb.walks import Walks
from gateway.errors import BadRequest
from gateway.settings import Settings
from gateway.transactions import Exchange
from storage.model import Found, Level

OFFERS: Final = (
    Offer(media_type="application/dicom+json", alone=True),
    Offer(media_type="application/json", alone=True),
)
HEADERS: Final = {
    "Cache-Control": "private, no-store",
    "Vary": "Authorization, Accept",
    "X-Content-Type-Options": "nosniff",
}
MORE: Final = "There are at least 1 additional results that can be requested"

STUDIES: Final = "/dicom-web/studies"
SERIES_OF_STUDY: Final = STUDIES + "/{study}/series"
RESOURCES: Final = (
    (STUDIES, Level.STUDY),
    (SERIES_OF_STUDY, Level.SERIES),
    (SERIES_OF_STUDY + "/{series}/instances", Level.INSTANCE),
    (STUDIES + "/{study}/instances", Level.INSTANCE),
    ("/dicom-web/series", Level.SERIES),
    ("/dicom-web/instances", Level.INSTANCE),
)
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII).fullmatch
_UID_LENGTH: Final = 64


def routes(exchange: Exchange, settings: Settings) -> list[Route]:
    """The search routes."""
    walks = Walks()

    def searching(level: Level) -> Callable[[Request], Awaitable[Response]]:
        async def search(request: Request) -> Response:
            call = await exchange.authenticate(request)
            asked = asked_of(request, level, settings.search_limit)
            representation = negotiate(request.headers.getlist("accept"), asked.accept, OFFERS)
            found = await exchange.search(call, walks.resumed(call.requester.credential, asked.query))
            walks.remember(call.requester.credential, asked.query, found)
            return answer(found, settings.public_url, media_type=representation.media_type, warnings=asked.warnings)

        return search

    return [Route(path, searching(level), methods=["GET", "HEAD"]) for path, level in RESOURCES]


def asked_of(request: Request, level: Level, maximum: int) -> Search:
    """What a request searches for.

    Raises
    ------
    BadRequest : a UID in the path is no UID
    BadQuery : the query string cannot be understood
    """
    study, series = (request.path_params.get(name) for name in ("study", "series"))
    if not all(uid is None or (len(uid) <= _UID_LENGTH and _UID(uid)) for uid in (study, series)):
        raise BadRequest("A UID has at most 64 characters, digits with dots between.")
    raw: bytes = request.scope["query_string"]
    return parse(raw, level, maximum=maximum, study_instance_uid=study, series_instance_uid=series)


def answer(
    found: Found, public_url: str, *, media_type: str = OFFERS[0].media_type, warnings: Sequence[str] = ()
) -> Response:
    """The response to a search: one DICOM JSON array (PS3.18 10.6.3.3, Annex F)."""
    rows = zip(found.objects, found.uids, strict=True)
    body = b"[" + b",\n".join(with_retrieve_url(row, uids, public_url) for row, uids in rows) + b"]"
    response = Response(body, headers=HEADERS, media_type=media_type)
    for text in (*warnings, *([MORE] if found.more else [])):
        response.headers.append("Warning", f"299 {public_url}/dicom-web: {text}")
    return response


def with_retrieve_url(row: bytes, uids: Sequence[str], public_url: str) -> bytes:
    """A catalog object with the RetrieveURL of its resource, in the order of tags (PS3.18 Annex F.2.2)."""
    levels = zip(("studies", "series", "instances"), uids, strict=False)
    url = f"{public_url}/dicom-web/" + "/".join(f"{level}/{uid}" for level, uid in levels)
    lines = row.split(b"\n")
    line = b'"00081190":{"vr":"UR","Value":[%b]},' % orjson.dumps(url)
    # the first line has the brace before it; the last is never earlier, being a UID of group 0020 or later
    lines.insert(bisect(lines, line, lo=1), line)
    return b"\n".join(lines)
