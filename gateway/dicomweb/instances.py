"""Instances as Part 10 files: multipart for any target, single part for one instance (PS3.18 10.4.1.1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from fastapi.responses import Response

from gateway.coverage import Progress
from gateway.dicomweb.accept import Representation
from gateway.dicomweb.conversion import syntax_to_send, to_explicit_little_endian
from gateway.dicomweb.multipart import Multipart, Part, Piece
from gateway.dicomweb.offers import DICOM, first_possible
from gateway.dicomweb.sending import send
from gateway.transactions import Retrieval
from storage.model import InstanceRef


async def send_instances(retrieval: Retrieval, representation: Representation, base: str) -> Response:
    """All instances of the retrieve, in one representation.

    Raises
    ------
    NotAcceptable : one of them cannot be had in the transfer syntax asked for
    """
    refs = retrieval.located.instances

    def syntaxes_of(one: Representation) -> tuple[list[str], bool]:
        asked = one.transfer_syntax
        return [
            syntax_to_send(ref.transfer_syntax_uid, asked, size_bytes=ref.size_bytes) for ref in refs
        ], one.single_part

    syntaxes, alone = first_possible(representation, syntaxes_of)
    if alone:
        return await _send_one(retrieval, refs[0], syntaxes[0])
    return await _send_parts(retrieval, refs, syntaxes, base)


async def _send_one(retrieval: Retrieval, ref: InstanceRef, syntax: str) -> Response:
    def pieces(progress: Progress) -> AsyncIterator[Piece]:
        return _read(retrieval, ref, syntax, progress)

    length = ref.size_bytes if syntax == ref.transfer_syntax_uid else None
    return await send(
        retrieval, pieces, what="instances", media_type=f"{DICOM}; transfer-syntax={syntax}", length=length
    )


async def _send_parts(
    retrieval: Retrieval, refs: Sequence[InstanceRef], syntaxes: Sequence[str], base: str
) -> Response:
    progress_of: list[Progress] = []

    def part(ref: InstanceRef, syntax: str) -> Part:
        return Part(
            content_type=f"{DICOM}; transfer-syntax={syntax}",
            location=location_of(ref, base),
            length=ref.size_bytes if syntax == ref.transfer_syntax_uid else None,
            pieces=lambda: _read(retrieval, ref, syntax, progress_of[0]),
        )

    body = Multipart([part(ref, syntax) for ref, syntax in zip(refs, syntaxes, strict=True)], related_type=DICOM)

    def pieces(progress: Progress) -> AsyncIterator[Piece]:
        progress_of.append(progress)
        return body.pieces()

    return await send(retrieval, pieces, what="instances", media_type=body.media_type, length=body.length)


def location_of(ref: InstanceRef, base: str) -> str:
    """Where this instance can be asked for alone."""
    return (
        f"{base}/dicom-web/studies/{ref.study_instance_uid}/series/{ref.series_instance_uid}"
        f"/instances/{ref.sop_instance_uid}"
    )


async def _read(retrieval: Retrieval, ref: InstanceRef, syntax: str, progress: Progress) -> AsyncIterator[Piece]:
    pieces = retrieval.archive_of(ref).read(ref)
    if syntax == ref.transfer_syntax_uid:
        async for piece in pieces:
            yield piece
    else:
        stored = b"".join([piece async for piece in pieces])
        yield await asyncio.to_thread(to_explicit_little_endian, stored)
    progress.instances.add(ref.sop_instance_uid)
