"""Finding the frames of a scanned image: by its size if it is native, by its fragments if it is encapsulated.

What the image says about itself is believed only where the bytes agree. Where they do not, there is no table: a frame
that might be another one is not served.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left

from storage.attributes import values_of
from storage.elements import PIXEL_DATA, Element, Fragments
from storage.frame_table import Bits, FrameTable, Span, extract_bits
from storage.octets import Octets, Source
from storage.scan import DEFLATED, Structure

FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00008, 0x7FE00009
EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00001, 0x7FE00002
NUMBER_OF_FRAMES, PHOTOMETRIC_INTERPRETATION = (0x00280008,), (0x00280004,)
ROWS, COLUMNS, SAMPLES_PER_PIXEL, BITS_ALLOCATED = (0x00280010,), (0x00280011,), (0x00280002,), (0x00280100,)
_ASKED = (NUMBER_OF_FRAMES, PHOTOMETRIC_INTERPRETATION, ROWS, COLUMNS, SAMPLES_PER_PIXEL, BITS_ALLOCATED)

HALF_CHROMA = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
"""Native pixels of these take two samples, not three (PS3.3 C.7.6.3.1.2)."""

MOST_FRAMES = 2**31 - 1  # IS
MARKER = 2  # bytes
END_REACH = 10  # an end marker may be followed by padding

_JPEG_AND_JPEG_2000 = (*range(50, 71), 80, 81, 90, 91, 92, 93, 201, 202, 203)
_CODESTREAMS = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in _JPEG_AND_JPEG_2000)
_VIDEO = frozenset(f"1.2.840.10008.1.2.4.{number}{form}" for number in range(100, 109) for form in ("", ".1"))
_BEGIN = (b"\xff\xd8", b"\xff\x4f")  # SOI of JPEG and JPEG-LS, SOC of JPEG 2000
_END = b"\xff\xd9"  # EOI, EOC


class _NoFrames(Exception):
    """The frames cannot be told apart."""


__all__ = ["Bits", "FrameTable", "Span", "extract_bits", "frame_table", "unframed_reason"]


def frame_table(structure: Structure, source: Source) -> FrameTable | None:
    """The frames of the image in `source`, whose structure this is; None when they cannot be told apart."""
    try:
        return _frame_table(structure, source)
    except _NoFrames:
        return None


def unframed_reason(structure: Structure, source: Source) -> str | None:
    """Why an instance has no table of frames, in a sentence; None when it has one."""
    try:
        _frame_table(structure, source)
    except _NoFrames as none:
        return str(none)
    return None


def _frame_table(structure: Structure, source: Source) -> FrameTable:
    data_set = structure.data_set
    inflated_from = structure.data_set_offset if structure.transfer_syntax_uid in DEFLATED else 0
    stated = {path: texts[0] if texts else "" for path, texts in values_of(structure, source, _ASKED).items()}
    number_of_frames = _number_of_frames(stated[NUMBER_OF_FRAMES])
    for tag, bits in ((PIXEL_DATA, 0), (FLOAT_PIXEL_DATA, 32), (DOUBLE_FLOAT_PIXEL_DATA, 64)):
        pixels = data_set.find(tag)
        if pixels is None:
            continue
        if isinstance(pixels.items, Fragments):
            firsts, lengths = _encapsulated(structure, structure.octets(source), pixels.items, number_of_frames)
            return FrameTable.encapsulated(
                firsts=firsts, offsets=pixels.items.offsets, lengths=lengths, inflated_from=inflated_from
            )
        frame_bits = _frame_bits(stated, bits)
        _check_size(pixels, frame_bits, number_of_frames)
        if not data_set.little_endian and frame_bits % 16 and number_of_frames > 1:
            raise _NoFrames("The frames begin inside the words of a big endian image.")
        return FrameTable.native(
            offset=pixels.offset, frame_bits=frame_bits, number_of_frames=number_of_frames, inflated_from=inflated_from
        )
    raise _NoFrames("The instance has no pixel data.")


def _number_of_frames(text: str) -> int:
    if not text:
        return 1
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MOST_FRAMES)):
        raise _NoFrames("The number of frames is no number.")
    if not 0 < int(text) <= MOST_FRAMES:
        raise _NoFrames("The number of frames cannot be right.")
    return int(text)


def _frame_bits(stated: dict[tuple[int, ...], str], bits: int) -> int:
    """The size of one native frame in bits (PS3.5 8.1.1)."""
    sizes = [stated[path] for path in (ROWS, COLUMNS, SAMPLES_PER_PIXEL)]
    allocated = str(bits) if bits else stated[BITS_ALLOCATED]
    if not all(size.isdigit() and int(size) for size in (*sizes, allocated)):
        raise _NoFrames("The image does not state its size.")
    rows, columns, samples = (int(size) for size in sizes)
    if stated[PHOTOMETRIC_INTERPRETATION] in HALF_CHROMA and samples == 3:  # noqa: PLR2004 - one luma, two chroma
        samples = 2
    return rows * columns * samples * int(allocated)


def _check_size(pixels: Element, frame_bits: int, number_of_frames: int) -> None:
    expected = (frame_bits * number_of_frames + 7) // 8
    if expected > pixels.length:
        raise _NoFrames("The pixel data is shorter than the stated size and number of frames.")
    if pixels.length - expected >= max(2, frame_bits // 8):
        raise _NoFrames("The pixel data holds more than the stated number of frames.")


def _encapsulated(
    structure: Structure, octets: Octets, fragments: Fragments, number_of_frames: int
) -> tuple[array[int], array[int]]:
    """The first fragment of each frame, and the length of each fragment: by a table that agrees with the fragments,
    else by the fragments themselves.
    """
    count = len(fragments.offsets)
    if structure.transfer_syntax_uid in _VIDEO:
        raise _NoFrames("The pixel data is a video, whose frames are not told apart.")
    if number_of_frames > count:
        raise _NoFrames("The pixel data has fewer fragments than the stated number of frames.")
    exact_lengths = _by_extended_table(structure, octets, fragments, number_of_frames)
    if exact_lengths is not None:
        return array("I", range(count + 1)), exact_lengths
    firsts = _by_basic_table(octets, fragments, number_of_frames)
    if firsts is None and count == number_of_frames:
        firsts = array("I", range(count))
    elif firsts is None and number_of_frames == 1:
        firsts = array("I", [0])
    elif firsts is None:
        firsts = _by_markers(structure, octets, fragments, number_of_frames)
    firsts.append(count)
    return firsts, fragments.lengths


def _by_extended_table(
    structure: Structure, octets: Octets, fragments: Fragments, number_of_frames: int
) -> array[int] | None:
    """Exact lengths by the Extended Offset Table, which has one fragment for each frame (PS3.3 C.7.6.3.1.8)."""
    count = len(fragments.offsets)
    tables = [structure.data_set.find(tag) for tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS)]
    if number_of_frames != count or any(table is None or table.length != 8 * count for table in tables):
        return None
    offsets, lengths = (_entries("Q", octets.read(table.offset, table.length)) for table in tables if table)
    start = fragments.offsets[0]
    for found, offset, padded, length in zip(fragments.offsets, offsets, fragments.lengths, lengths, strict=True):
        if found != start + offset or not padded - 1 <= length <= padded:
            return None
    return lengths


def _by_basic_table(octets: Octets, fragments: Fragments, number_of_frames: int) -> array[int] | None:
    """By the Basic Offset Table (PS3.5 A.4): each entry is the distance of an item from the first fragment's."""
    if fragments.table_length != 4 * number_of_frames:
        return None
    start, firsts = fragments.offsets[0], array("I")
    for entry in _entries("I", octets.read(fragments.table_offset, fragments.table_length)):
        first = bisect_left(fragments.offsets, start + entry)
        if first == len(fragments.offsets) or fragments.offsets[first] != start + entry:
            return None
        if firsts and first <= firsts[-1]:
            return None
        firsts.append(first)
    return None if firsts[0] else firsts


def _by_markers(structure: Structure, octets: Octets, fragments: Fragments, number_of_frames: int) -> array[int]:
    """By the markers that begin and end a JPEG or JPEG 2000 codestream, when there is no table."""
    if structure.transfer_syntax_uid not in _CODESTREAMS:
        raise _NoFrames("The pixel data has neither an offset table nor one fragment for each frame.")
    firsts, ended = array("I"), True
    for number, (offset, length) in enumerate(zip(fragments.offsets, fragments.lengths, strict=True)):
        if ended and octets.glance(offset, min(MARKER, length)) in _BEGIN:
            firsts.append(number)
        reach = min(END_REACH, length)
        ended = _END in octets.glance(offset + length - reach, reach)
    if len(firsts) != number_of_frames or firsts[0]:
        raise _NoFrames("The codestreams in the pixel data are not as many as the stated number of frames.")
    return firsts


def _entries(code: str, packed: bytes) -> array[int]:
    entries = array(code, packed)
    if sys.byteorder == "big":  # encapsulated pixel data is always little endian
        entries.byteswap()
    return entries
