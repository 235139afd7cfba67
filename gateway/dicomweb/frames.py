"""Frames of one instance (PS3.18 10.4.1.1.6): the list as asked for, in its order, each as it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from fastapi.responses import Response
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from gateway.coverage import Progress
from gateway.dicomweb.accept import Representation
from gateway.dicomweb.conversion import UNENCAPSULATED, swap_bytes, word_of
from gateway.dicomweb.instances import location_of
from gateway.dicomweb.multipart import Multipart, Part, Piece
from gateway.dicomweb.offers import FRAME_MEDIA_TYPES, OCTETS, first_possible
from gateway.dicomweb.sending import send
from gateway.errors import BadRequest, NoSuchFrame, NotAcceptable, TooMuch
from gateway.transactions import Retrieval
from storage.bulk import find
from storage.frame_table import FrameTable
from storage.model import InstanceRef

PIXEL_DATA: Final = "7FE00010"
MOST_FRAMES: Final = 1000  # in one request
DIGITS: Final = 9  # a longer number is no frame number


def parse_frame_list(text: str) -> list[int]:
    """`1,3,2` as numbers, order kept.

    Raises
    ------
    BadRequest : it is no list of frame numbers
    TooMuch : it is longer than is served at once
    """
    numbers = text.split(",", MOST_FRAMES)
    if len(numbers) > MOST_FRAMES:
        raise TooMuch
    if not all(number.isascii() and number.isdigit() and len(number) <= DIGITS for number in numbers):
        raise BadRequest("The frame list must be numbers with commas between, counted from 1.")
    return [int(number) for number in numbers]


def stored_media_type(transfer_syntax_uid: str) -> str:
    """The media type of a frame as it is stored (PS3.18 Table 8.7.3-5)."""
    return FRAME_MEDIA_TYPES.get(transfer_syntax_uid, OCTETS)


async def send_frames(
    retrieval: Retrieval, numbers: Sequence[int], representation: Representation, base: str
) -> Response:
    """The frames asked for.

    Raises
    ------
    NoSuchFrame : the instance has no pixel data, or fewer frames
    NotAcceptable : the frames are stored compressed and something else was asked for
    """
    ref = retrieval.located.instances[0]
    table = _table(ref)
    if any(not 1 <= number <= table.number_of_frames for number in numbers):
        raise NoSuchFrame
    syntax, media_type, alone = first_possible(representation, lambda one: (*_form(ref, one), one.single_part))
    content_type = f"{media_type}; transfer-syntax={syntax}"
    lengths = [(table.bits(number).size + 7) // 8 for number in numbers]
    if alone:

        def single(progress: Progress) -> AsyncIterator[Piece]:
            return _read(retrieval, ref, numbers[0], progress)

        return await send(retrieval, single, what="frames", media_type=content_type, length=lengths[0])
    progress_of: list[Progress] = []

    def part(number: int, length: int) -> Part:
        return Part(
            content_type=content_type,
            location=f"{location_of(ref, base)}/frames/{number}",
            length=length,
            pieces=lambda: _read(retrieval, ref, number, progress_of[0]),
        )

    body = Multipart([part(n, size) for n, size in zip(numbers, lengths, strict=True)], related_type=media_type)

    def pieces(progress: Progress) -> AsyncIterator[Piece]:
        progress_of.append(progress)
        return body.pieces()

    return await send(retrieval, pieces, what="frames", media_type=body.media_type, length=body.length)


def _table(ref: InstanceRef) -> FrameTable:
    if ref.frames is None:
        raise NoSuchFrame("The instance has no frames that can be served.")
    return FrameTable.from_bytes(ref.frames)


def _form(ref: InstanceRef, asked: Representation) -> tuple[str, str]:
    """Transfer syntax and media type in which the frames go out."""
    stored = ref.transfer_syntax_uid
    if stored in UNENCAPSULATED:
        if asked.transfer_syntax not in {None, "*", ExplicitVRLittleEndian} or asked.media_type != OCTETS:
            raise NotAcceptable("The frames are stored uncompressed; ask for application/octet-stream.")
        return str(ExplicitVRLittleEndian), OCTETS
    own = stored_media_type(stored)
    if asked.transfer_syntax == "*" or (asked.media_type == own != OCTETS and asked.transfer_syntax in {None, stored}):
        return stored, own if asked.media_type == own else asked.media_type
    raise NotAcceptable(f"The frames are stored as {own}; ask for that, or for transfer-syntax=*.")


async def _read(retrieval: Retrieval, ref: InstanceRef, number: int, progress: Progress) -> AsyncIterator[Piece]:
    async for frame in retrieval.archive_of(ref).read_frames(ref, [number]):
        yield swap_bytes(frame, width=_word(ref)) if ref.transfer_syntax_uid == ExplicitVRBigEndian else frame
    progress.instances.add(ref.sop_instance_uid)
    progress.frames += 1


def _word(ref: InstanceRef) -> int:
    pixels = find(ref.bulk, PIXEL_DATA)
    return word_of(pixels.vr if pixels else "OW", ref.bits_allocated)
