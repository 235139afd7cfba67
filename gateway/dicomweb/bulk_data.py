"""Bulk data values: what the BulkDataURIs of metadata lead to (PS3.18 10.4.1.1.5)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from fastapi.responses import Response
from pydicom.uid import DeflatedExplicitVRLittleEndian

from gateway.coverage import Progress
from gateway.dicomweb.accept import Representation
from gateway.dicomweb.conversion import swap_bytes, word_of
from gateway.dicomweb.instances import location_of
from gateway.dicomweb.multipart import Multipart, Part, Piece
from gateway.dicomweb.offers import OCTETS
from gateway.dicomweb.sending import send
from gateway.errors import NotAcceptable, NotAvailable
from gateway.transactions import Retrieval
from storage.bulk import BulkValue, find
from storage.model import ByteSpan, InstanceRef

PATH: Final = re.compile(r"[0-9A-F]{8}(?:/[0-9]{1,9}/[0-9A-F]{8}){0,32}", re.ASCII)


async def send_bulk_data(retrieval: Retrieval, path: str, representation: Representation, base: str) -> Response:
    """One binary value, in little endian order whatever the instance is stored in.

    Raises
    ------
    NotAvailable : the instance has no such value
    NotAcceptable : the value is compressed pixel data, which is served as frames
    """
    ref = retrieval.located.instances[0]
    value = find(ref.bulk, path) if PATH.fullmatch(path) else None
    if value is None:
        raise NotAvailable
    if value.encapsulated:
        raise NotAcceptable("The pixel data is compressed; ask for its frames.")

    def single(progress: Progress) -> AsyncIterator[Piece]:
        return _read(retrieval, ref, value, progress)

    if representation.single_part:
        return await send(retrieval, single, what="bulk data", media_type=OCTETS, length=value.length)
    progress_of: list[Progress] = []
    part = Part(
        content_type=OCTETS,
        location=f"{location_of(ref, base)}/bulkdata/{path}",
        length=value.length,
        pieces=lambda: single(progress_of[0]),
    )
    body = Multipart([part], related_type=OCTETS)

    def pieces(progress: Progress) -> AsyncIterator[Piece]:
        progress_of.append(progress)
        return body.pieces()

    return await send(retrieval, pieces, what="bulk data", media_type=body.media_type, length=body.length)


async def _read(retrieval: Retrieval, ref: InstanceRef, value: BulkValue, progress: Progress) -> AsyncIterator[Piece]:
    span = ByteSpan(offset=value.offset, length=value.length)
    archive = retrieval.archive_of(ref)
    word = 1 if value.little_endian else word_of(value.vr, ref.bits_allocated)
    if ref.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        yield await archive.read_inflated(ref, ref.data_set_offset, [span])
    elif word > 1:
        yield swap_bytes(await archive.read_span(ref, [span]), width=word)
    else:
        async for piece in archive.read(ref, span):
            yield piece
    progress.instances.add(ref.sop_instance_uid)
