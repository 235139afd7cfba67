from __future__ import annotations

import itertools
import struct
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate_extended, generate_frames
from pydicom.pixels import pack_bits
from pydicom.pixels.utils import get_expected_length

from storage.frame_table import FrameTable, extract_bits
from storage.frames import frame_table, unframed_reason
from storage.scan import Structure, read_structure
from storage.unusable import UnusableInstance
from tests.storage import hostile, sample_files
from tests.storage.hostile import element


def frames_of(octets: bytes) -> list[bytes]:
    """Every frame, through a table that was stored and read again."""
    structure = read_structure(octets)
    table = frame_table(structure, octets)
    assert table is not None, unframed_reason(structure, octets)
    stored = FrameTable.from_bytes(table.to_bytes())
    within = structure.octets(octets)
    frames = []
    for number in range(1, stored.number_of_frames + 1):
        frame = b"".join(within.read(offset, length) for offset, length in stored.spans(number))
        frames.append(frame if stored.byte_aligned else extract_bits(frame, stored.bits(number)))
    return frames


def frames_by_pydicom(octets: bytes) -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(pydicom.filebase.DicomBytesIO(octets))
        number = int(data_set.get("NumberOfFrames", 1) or 1)
        if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
            return list(generate_frames(data_set.PixelData, number_of_frames=number))
        size = get_expected_length(data_set) // number
        return [data_set.PixelData[index * size : (index + 1) * size] for index in range(number)]


def test_frames_of_every_sample_file_are_those_that_pydicom_reads():
    compared = several_frames = several_fragments = 0
    for path in sample_files.everything():
        octets = path.read_bytes()
        try:
            structure = read_structure(octets)
        except UnusableInstance:
            continue
        table = frame_table(structure, octets)
        if table is None:
            unreadable = path.name == "badVR.dcm"  # its number of frames is 1A
            assert unreadable or structure.data_set.find(hostile.PIXEL_DATA) is None, path.name
            continue
        assert frames_of(octets) == frames_by_pydicom(octets), path.name
        compared += 1
        several_frames += table.number_of_frames > 1
        several_fragments += len(table.spans(1)) > 1
    assert compared > 120
    assert several_frames > 20
    assert several_fragments > 8


def image(*, frames: str, rows: int, columns: int, bits: int, pixels: bytes, colour: bytes = b"MONOCHROME2") -> bytes:
    numbers = ((0x00280002, 3 if colour != b"MONOCHROME2" else 1), (0x00280010, rows), (0x00280011, columns))
    elements = [element(tag, b"US", struct.pack("<H", value)) for tag, value in (*numbers, (0x00280100, bits))]
    elements.append(element(0x00280004, b"CS", hostile.even(colour, b" ")))
    if frames:
        elements.append(element(0x00280008, b"IS", hostile.even(frames.encode(), b" ")))
    vr = b"OB" if bits <= 8 else b"OW"
    return hostile.instance(*elements, element(hostile.PIXEL_DATA, vr, hostile.even(pixels)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.randoms(use_true_random=False))
def test_bit_packed_frames_are_cut_out_bit_by_bit(rows: int, columns: int, count: int, random):
    pixels = np.array([random.getrandbits(1) for _ in range(rows * columns * count)], dtype=np.uint8)
    octets = image(frames=str(count), rows=rows, columns=columns, bits=1, pixels=pack_bits(pixels, pad=False))
    expected = [pack_bits(frame, pad=False) for frame in pixels.reshape(count, -1)]
    found = frames_of(octets)
    if count == 1:
        found = [found[0][: len(expected[0])]]
    assert found == expected
    table = frame_table(read_structure(octets), octets)
    assert table is not None
    assert table.byte_aligned == (count == 1 or rows * columns % 8 == 0)


def test_table_of_a_native_image_is_small_whatever_it_holds():
    table = FrameTable.native(offset=2**40, frame_bits=8, number_of_frames=2**31 - 1)
    assert len(table.to_bytes()) == 32
    assert table.spans(2**31 - 1) == ((2**40 + 2**31 - 2, 1),)


def test_one_frame_of_a_large_table_is_read_alone():
    fragments = [struct.pack("<I", number) for number in range(10_000)]
    octets = encapsulated_image("10000", fragments)
    structure = read_structure(octets)
    table = frame_table(structure, octets)
    assert table is not None
    assert len(table.to_bytes()) == 16 + 12 * 10_000
    for number in (1, 5_000, 10_000):
        ((offset, length),) = table.spans(number)
        assert octets[offset : offset + length] == fragments[number - 1]
    for number in (0, -1, 10_001, 2**64):
        with pytest.raises(IndexError):
            table.spans(number)


def encapsulated_image(
    frames: str,
    fragments: list[bytes],
    *,
    table: bytes = b"",
    transfer_syntax: str = hostile.JPEG_BASELINE,
    before: bytes = b"",
) -> bytes:
    numbers = [element(0x00280008, b"IS", hostile.even(frames.encode(), b" "))] if frames else []
    content = hostile.data_set(*numbers) + before + hostile.encapsulated(*fragments, table=table)
    return hostile.part10(content, transfer_syntax)


SOI, EOI = b"\xff\xd8", b"\xff\xd9"
JPEGS = [SOI + b"a1", b"a2", b"a3" + EOI, SOI + b"bb" + EOI + b"\0\0", SOI + b"c1", b"c2" + EOI]
JOINED = [SOI + b"a1a2a3" + EOI, SOI + b"bb" + EOI + b"\0\0", SOI + b"c1c2" + EOI]


def offsets(fragments: list[bytes], firsts: list[int]) -> list[int]:
    places = list(itertools.accumulate((8 + len(one) for one in fragments), initial=0))
    return [places[first] for first in firsts]


def basic_table(fragments: list[bytes], firsts: list[int]) -> bytes:
    return struct.pack(f"<{len(firsts)}I", *offsets(fragments, firsts))


def test_fragments_are_joined_by_the_basic_offset_table():
    octets = encapsulated_image("3", JPEGS, table=basic_table(JPEGS, [0, 3, 4]))
    assert frames_of(octets) == JOINED == frames_by_pydicom(octets)
    other = encapsulated_image("2", JPEGS, table=basic_table(JPEGS, [0, 5]), transfer_syntax=hostile.RLE)
    assert frames_of(other) == [b"".join(JPEGS[:5]), JPEGS[5]] == frames_by_pydicom(other)


def test_fragments_without_a_table_are_joined_by_their_markers():
    assert frames_of(encapsulated_image("3", JPEGS)) == JOINED
    jpeg_2000 = [b"\xff\x4f\xff\x51", b"x" * 2, b"yz" + EOI, b"\xff\x4f\xff\x51" + EOI]
    octets = encapsulated_image("2", jpeg_2000, transfer_syntax="1.2.840.10008.1.2.4.90")
    assert frames_of(octets) == [b"".join(jpeg_2000[:3]), jpeg_2000[3]]


def test_marker_inside_a_codestream_begins_no_frame():
    thumbnail = [SOI + b"a1", SOI + b"a2", b"a3" + EOI, SOI + b"bb" + EOI]
    assert frames_of(encapsulated_image("2", thumbnail)) == [b"".join(thumbnail[:3]), thumbnail[3]]


def test_one_frame_takes_all_fragments():
    for frames in ("1", ""):
        assert frames_of(encapsulated_image(frames, JPEGS, transfer_syntax=hostile.RLE)) == [b"".join(JPEGS)]


@pytest.mark.parametrize(
    "table",
    [
        basic_table(JPEGS, [0, 3, 4])[:-4],
        basic_table(JPEGS, [0, 4, 3]),
        basic_table(JPEGS, [0, 3, 3]),
        basic_table(JPEGS, [1, 3, 4]),
        struct.pack("<3I", 0, 1, 2),
        struct.pack("<3I", 0, 2**32 - 1, 2**32 - 2),
        struct.pack("<3I", 0, 24, 10**6),
        struct.pack("<3I", 0, *(place - 1 for place in offsets(JPEGS, [1, 2]))),
    ],
)
def test_wrong_basic_offset_table_is_not_believed(table: bytes):
    assert frames_of(encapsulated_image("3", JPEGS, table=table)) == JOINED
    structure = read_structure(octets := encapsulated_image("3", JPEGS, table=table, transfer_syntax=hostile.RLE))
    assert frame_table(structure, octets) is None


def extended(places: list[int], lengths: list[int]) -> bytes:
    count = len(places)
    return element(0x7FE00001, b"OV", struct.pack(f"<{count}Q", *places)) + element(
        0x7FE00002, b"OV", struct.pack(f"<{len(lengths)}Q", *lengths)
    )


def test_extended_offset_table_tells_lengths_without_padding():
    frames = [b"odd", b"even", b"x" * 101]
    fragments = [hostile.even(frame) for frame in frames]
    octets = encapsulated_image("3", fragments, before=extended(offsets(fragments, [0, 1, 2]), [3, 4, 101]))
    assert frames_of(octets) == frames


def test_extended_offset_table_of_pydicom_is_read():
    frames = [b"odd", b"even", b"x" * 101]
    fragments = [hostile.even(frame) for frame in frames]
    _, places, lengths = encapsulate_extended(frames)
    before = element(0x7FE00001, b"OV", places) + element(0x7FE00002, b"OV", lengths)
    assert frames_of(encapsulated_image("3", fragments, before=before)) == fragments


@pytest.mark.parametrize(
    ("places", "lengths"),
    [
        ([0, 12, 24], [3, 3]),
        ([0, 12, 25], [3, 3, 3]),
        ([8, 20, 32], [3, 3, 3]),
        ([0, 12, 24], [3, 5, 3]),
        ([0, 12, 24], [3, 2, 3]),
        ([0, 12, 24], [3, 2**63, 3]),
        ([0, 24, 12], [3, 3, 3]),
        ([0, 12, 2**64 - 1], [3, 3, 3]),
    ],
)
def test_extended_offset_table_that_does_not_fit_the_fragments_is_not_believed(places: list[int], lengths: list[int]):
    fragments = [b"aaaa", b"bbbb", b"cccc"]
    assert frames_of(encapsulated_image("3", fragments, before=extended(places, lengths))) == fragments


@pytest.mark.parametrize("frames", ["0", "-1", "2147483647", "2147483648", "9" * 20, "1A", "1.0", "+2", "4"])
def test_wrong_number_of_frames_gives_no_table(frames: str):
    for octets in (
        encapsulated_image(frames, JPEGS[3:]),
        image(frames=frames, rows=2, columns=2, bits=8, pixels=bytes(8)),
        image(frames=frames, rows=65535, columns=65535, bits=16, pixels=bytes(8)),
    ):
        structure = read_structure(octets)
        assert frame_table(structure, octets) is None
        assert unframed_reason(structure, octets)


def reason(octets: bytes) -> str:
    structure: Structure = read_structure(octets)
    assert frame_table(structure, octets) is None
    return unframed_reason(structure, octets) or ""


def test_what_has_no_frames_says_why():
    assert "no pixel data" in reason(hostile.instance())
    assert "state its size" in reason(hostile.instance(element(hostile.PIXEL_DATA, b"OB", b"ab")))
    assert "state its size" in reason(image(frames="1", rows=0, columns=2, bits=8, pixels=b""))
    assert "more than" in reason(image(frames="1", rows=2, columns=2, bits=8, pixels=bytes(8)))
    assert "shorter" in reason(image(frames="3", rows=2, columns=2, bits=8, pixels=bytes(8)))
    assert "video" in reason(encapsulated_image("2", JPEGS, transfer_syntax="1.2.840.10008.1.2.4.102.1"))
    assert "fewer fragments" in reason(encapsulated_image("7", JPEGS))
    assert "codestreams" in reason(encapsulated_image("2", JPEGS))
    assert "neither" in reason(encapsulated_image("2", JPEGS, transfer_syntax=hostile.RLE))


def test_native_frames_of_every_size_are_found():
    for bits, colour, size in ((8, b"RGB", 12), (16, b"MONOCHROME2", 8), (8, b"YBR_FULL_422", 8), (32, b"RGB", 48)):
        pixels = bytes(range(2 * size))
        octets = image(frames="2", rows=2, columns=2, bits=bits, pixels=pixels, colour=colour)
        assert frames_of(octets) == [pixels[:size], pixels[size:]]


def test_float_pixels_are_framed():
    numbers = [
        element(tag, b"US", struct.pack("<H", value))
        for tag, value in ((0x00280002, 1), (0x00280010, 1), (0x00280011, 2))
    ]
    frames = element(0x00280008, b"IS", b"2 ")
    floats = element(0x7FE00008, b"OF", bytes(range(16)))
    assert frames_of(hostile.instance(*numbers, frames, floats)) == [bytes(range(8)), bytes(range(8, 16))]


def test_frames_of_a_deflated_image_are_counted_in_its_inflated_bytes():
    plain = image(frames="2", rows=2, columns=2, bits=8, pixels=b"abcdefgh")
    content = plain[read_structure(plain).data_set_offset :]
    octets = hostile.part10(hostile.deflated(content), hostile.DEFLATED)
    structure = read_structure(octets)
    table = frame_table(structure, octets)
    assert table is not None
    assert table.inflated_from == structure.data_set_offset > 0
    assert frames_of(octets) == [b"abcd", b"efgh"]


@pytest.mark.parametrize(
    "packed", [b"", b"\1" * 15, b"\2\0\0\0\5\0\0\0" + bytes(8), b"\3\0\0\0\xff\xff\xff\xff" + bytes(8)]
)
def test_table_that_was_cut_off_is_refused(packed: bytes):
    with pytest.raises(ValueError, match="frame table"):
        FrameTable.from_bytes(packed)
