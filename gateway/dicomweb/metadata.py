"""Metadata as DICOM JSON (PS3.18 10.4.1.1.2, Annex F): kept documents, joined; never parsed, never encoded here."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Iterable
from typing import Final

from fastapi.responses import Response

from gateway.coverage import Progress
from gateway.dicomweb.instances import location_of
from gateway.dicomweb.multipart import Piece
from gateway.dicomweb.offers import DICOM_JSON
from gateway.dicomweb.sending import send
from gateway.transactions import Retrieval
from storage import catalog
from storage.document import Document, get_documents, gzip_stream, identity_stream, instance_object

GZIP: Final = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[0-9.]+\s*)?(?:,|$)", re.ASCII)
LONGEST_ACCEPT: Final = 1024


def takes_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip (RFC 9110 12.5.3)."""
    return GZIP.search(accept_encoding[:LONGEST_ACCEPT].lower()) is not None


async def send_metadata(retrieval: Retrieval, base: str, accept_encoding: str) -> Response:
    """The metadata of every instance of the retrieve, as one JSON array."""
    zipped = takes_gzip(accept_encoding)
    if retrieval.located.instances:
        text = await _of_one_instance(retrieval, base)
        described, whole = 1, gzip.compress(text, 1) if zipped else text
        body: Iterable[bytes] = [whole]
        length = len(whole)
    else:
        documents = await get_documents(retrieval.exchange.database, retrieval.located.series, base)
        described = sum(ref.instance_count for ref in retrieval.located.series)
        body, length = _joined(documents, zipped=zipped)
    headers = {"Content-Encoding": "gzip"} if zipped else {}

    async def pieces(progress: Progress) -> AsyncIterator[Piece]:
        for piece in body:
            yield piece
        progress.described = described

    return await send(retrieval, pieces, what="metadata", media_type=DICOM_JSON, length=length, headers=headers)


def _joined(documents: list[Document], *, zipped: bool) -> tuple[Iterable[bytes], int]:
    if zipped:
        stitched = list(gzip_stream(documents))
        return stitched, sum(map(len, stitched))
    filled = [document for document in documents if document.size_bytes]
    size = 2 + max(0, len(filled) - 1) + sum(document.size_bytes for document in filled)
    return identity_stream(documents), size


async def _of_one_instance(retrieval: Retrieval, base: str) -> bytes:
    ref = retrieval.located.instances[0]
    study, own = await retrieval.exchange.database.fetch(catalog.instance_metadata, ref)
    return b"[%b]" % instance_object(study, own, location_of(ref, base) + "/")
