"""From an allowed retrieve to a response: the intent first, then the bytes, then the outcome (laws 6 and 8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog
from fastapi.responses import Response

from gateway.coverage import Progress
from gateway.streaming import Piece, StreamedResponse, StreamEnd, WholeResponse
from gateway.transactions import Retrieval
from storage.errors import NotDurable

PRIVATE: Final = {
    "Cache-Control": "private, no-store",
    "Vary": "Authorization, Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
SMALL_BYTES: Final = 1 << 20
"""Up to this length an answer is read whole before it begins."""
_log = structlog.get_logger()


async def send(
    retrieval: Retrieval,
    pieces: Callable[[Progress], AsyncIterator[Piece]],
    *,
    what: str,
    media_type: str,
    length: int | None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Make the intent durable, then answer with the pieces; a revocation cuts them.

    `pieces` counts what it has handed over in the Progress it is given.

    Raises
    ------
    NotDurable : the intent could not be written, so nothing is sent
    """
    record = await retrieval.intend(what)

    async def ended(end: StreamEnd) -> None:
        try:
            await record.ended(end)
        except NotDurable:
            _log.error("outcome.not-durable", request=retrieval.call.request)

    sized = {"Content-Length": str(length)} if length is not None else {}
    fields = {**PRIVATE, **sized, **(headers or {})}
    if length is None or length > SMALL_BYTES:
        body = pieces(record.progress)
        return StreamedResponse(body, on_end=ended, watch=retrieval.watched, headers=fields, media_type=media_type)
    try:
        whole = [piece async for piece in pieces(record.progress)]
    except BaseException:
        await ended(StreamEnd(outcome="error", bytes_sent=0))
        raise
    return WholeResponse(whole, on_end=ended, headers=fields, media_type=media_type)
