from __future__ import annotations

import io
import mmap
import random
import tracemalloc
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.elements import Fragments, ScanLimits
from storage.scan import Preamble, read_structure, scan
from storage.unusable import (
    DirectoryNotInstance,
    IdentityUnusable,
    InstanceTooLarge,
    Malformed,
    NotDicom,
    OverLimit,
    TagsOutOfOrder,
    UnusableInstance,
)
from tests.storage import hostile, sample_files
from tests.storage.hostile import Case, element, instance, item

REFUSED = {
    # not PS3.10 files: no preamble, or no transfer syntax
    **dict.fromkeys(("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "OT-PAL-8-face.dcm"), NotDicom),
    **dict.fromkeys(("meta_missing_tsyntax.dcm", "no_meta.dcm", "rtstruct.dcm"), NotDicom),
    **dict.fromkeys(("JLSL_RGB_ILV0.dcm", "JLSL_RGB_ILV1.dcm", "JLSL_RGB_ILV2.dcm", "JLSN_RGB_ILV0.dcm"), NotDicom),
    # cut off, on purpose
    **dict.fromkeys(("MR_truncated.dcm", "rtplan_truncated.dcm"), Malformed),
    "emri_small_jpeg_2k_lossless_too_short.dcm": Malformed,
    "SC_rgb_jpeg.dcm": Malformed,  # implicit VR under an explicit transfer syntax
    "nested_priv_SQ.dcm": TagsOutOfOrder,  # elements of group 0001, which no data set has
    "winter.dcm": IdentityUnusable,  # SOP Instance UID twice
    "bad_sequence.dcm": IdentityUnusable,  # hexadecimal digests for UIDs
    # no study and series UIDs: palettes, and pieces made for one test
    **dict.fromkeys(
        ("fall.dcm", "hotiron.dcm", "hotmetalblue.dcm", "pet.dcm", "pet20step.dcm", "spring.dcm", "summer.dcm"),
        IdentityUnusable,
    ),
    **dict.fromkeys(
        ("chrSQEncoding.dcm", "chrSQEncoding1.dcm", "UN_sequence.dcm", "empty_charset_LEI.dcm", "priv_SQ.dcm"),
        IdentityUnusable,
    ),
    **dict.fromkeys(("no_meta_group_length.dcm", "JPEGLSNearLossless_08.dcm"), IdentityUnusable),
    **dict.fromkeys(("JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm"), IdentityUnusable),
    **dict.fromkeys(("SC_rgb_jls_lossy_sample.dcm", "HTJ2K_08_RGB.dcm", "HTJ2KLossless_08_RGB.dcm"), IdentityUnusable),
    **dict.fromkeys(("JLSL_08_07_0_1F.dcm", "JLSL_16_15_1_1F.dcm"), IdentityUnusable),
    # directories
    **dict.fromkeys(("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit"), DirectoryNotInstance),
    **dict.fromkeys(("DICOMDIR-nopatient", "DICOMDIR-reordered", "DIRFILE"), DirectoryNotInstance),
    "DICOMDIR-nooffset": Malformed,  # its last item is longer than the file
}


def refusal(source: object) -> type[UnusableInstance] | None:
    try:
        scan(source)
    except UnusableInstance as refused:
        return type(refused)
    return None


def test_every_legal_sample_file_is_scanned_and_every_other_refused_for_its_fault():
    wrong = {}
    for path in sample_files.everything():
        found = refusal(path.read_bytes())
        if found is not REFUSED.get(path.name):
            wrong[path.name] = found
    assert wrong == {}


def test_scan_finds_the_uids_that_pydicom_reads():
    seen = 0
    for path in sample_files.everything():
        if path.name in REFUSED:
            continue
        scanned = scan(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = pydicom.dcmread(path, stop_before_pixels=True)
        assert scanned.transfer_syntax_uid == expected.file_meta.TransferSyntaxUID
        assert scanned.sop_class_uid == expected.SOPClassUID
        assert scanned.sop_instance_uid == expected.SOPInstanceUID
        assert scanned.study_instance_uid == expected.StudyInstanceUID
        assert scanned.series_instance_uid == expected.SeriesInstanceUID
        seen += 1
    assert seen > 150


CASES = hostile.cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_hostile_instance_is_refused(case: Case, tmp_path: Path):
    octets = case.make()
    path = tmp_path / "hostile.dcm"
    path.write_bytes(octets)
    with path.open("rb") as file:
        for source in (octets, io.BytesIO(octets), file):
            with pytest.raises(UnusableInstance) as refused:
                scan(source)
            assert type(refused.value) is case.refusal


@pytest.mark.parametrize(
    ("refusal_class", "reason"),
    [
        (NotDicom, 0xC000),
        (Malformed, 0xC000),
        (TagsOutOfOrder, 0xC000),
        (OverLimit, 0xC000),
        (InstanceTooLarge, 0xA700),
        (IdentityUnusable, 0xA900),
        (DirectoryNotInstance, 0x0122),
    ],
)
def test_refusal_carries_its_failure_reason(refusal_class: type[UnusableInstance], reason: int):
    assert refusal_class().failure_reason == reason
    assert str(refusal_class())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refusal_allocates_by_the_bytes_that_are_there_never_by_a_stated_length(case: Case):
    octets = case.make()
    tracemalloc.start()
    try:
        refusal(io.BytesIO(octets))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (24 if case.refusal is OverLimit else 1) * 2**20


def test_refusal_tells_no_value_of_the_instance():
    secret = "Geheim^Name"
    patient = element(0x00100010, b"PN", hostile.even(secret.encode()))
    broken = element(hostile.PIXEL_DATA, b"OB", length=100)
    doubled = element(hostile.ROWS, b"US", b"\1\0") * 2
    for extra, uids in ((broken, {}), (doubled, {}), (b"", {"uid_80018": b"../../Geheim^Name"})):
        with pytest.raises(UnusableInstance) as refused:
            scan(instance(patient, extra, **uids) if extra else instance(patient, **uids))
        assert "Geheim" not in str(refused.value)


@pytest.mark.parametrize("padded", [b"1.2.3\0", b"1.2.3 ", b"1.2.34", b"0", b"1." + b"9" * 62])
def test_uid_may_be_padded_with_one_byte(padded: bytes):
    uid = padded if len(padded) % 2 == 0 else padded + b"\0"
    assert scan(instance(uid_80018=uid)).sop_instance_uid == padded.decode().rstrip("\0 ")


@pytest.mark.parametrize(
    ("octets", "verdict", "alert"),
    [
        (b"", Preamble.ZEROS, False),
        (b"II*\0", Preamble.TIFF, False),
        (b"MM\0*", Preamble.TIFF, False),
        (b"vendor text", Preamble.OTHER, False),
        (b"MZ\x90\0", Preamble.PE, True),
        (b"\x7fELF", Preamble.ELF, True),
        (b"\xcf\xfa\xed\xfe", Preamble.MACH_O, True),
        (b"\xca\xfe\xba\xbe", Preamble.MACH_O, True),
        (b"#!/bin/sh\n", Preamble.SCRIPT, True),
        (b"PK\x03\x04", Preamble.ZIP, True),
    ],
)
def test_preamble_that_could_run_is_reported_and_not_refused(octets: bytes, verdict: Preamble, alert: bool):
    scanned = scan(hostile.part10(hostile.data_set(), preamble=octets))
    assert scanned.preamble is verdict
    assert (scanned.preamble_alert is not None) is alert


def test_every_source_gives_the_same_structure(tmp_path: Path):
    for name in ("CT_small.dcm", "waveform_ecg.dcm", "image_dfl.dcm", "emri_small_RLE.dcm", "MR_small_bigendian.dcm"):
        octets = sample_files.named(name)
        path = tmp_path / name
        path.write_bytes(octets)
        expected = scan(octets)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            for source in (file, mapped, io.BytesIO(octets), bytearray(octets), memoryview(octets)):
                found = scan(source)
                assert found.data_set == expected.data_set
                assert found.data_set_offset == expected.data_set_offset
                assert found.sop_instance_uid == expected.sop_instance_uid


def test_values_of_several_gigabytes_are_passed_over(tmp_path: Path):
    path = tmp_path / "large.dcm"
    length = 0xFFFFFFFE
    head = instance(element(0x00420011, b"OB", length=length))
    pixels = element(hostile.PIXEL_DATA, b"OW", length=length)
    tail = element(0xFFFCFFFC, b"OB", b"\0\0")
    with path.open("w+b") as file:
        file.write(head)
        file.seek(length, io.SEEK_CUR)
        file.write(pixels)
        file.seek(length, io.SEEK_CUR)
        file.write(tail)
        tracemalloc.start()
        scanned = scan(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    found = scanned.data_set.find(hostile.PIXEL_DATA)
    assert found is not None
    assert (found.offset, found.length) == (len(head) + length + len(pixels), length)
    assert scanned.data_set.elements[-1].tag == 0xFFFCFFFC
    assert peak < 2**20
    path.unlink()


def test_sequences_are_read_in_every_form():
    inner = element(0x00081150, b"UI", b"1.2\0") + element(0x00081155, b"UI", b"1.3\0")
    for items in (item(inner) + item(), hostile.open_item(inner) + hostile.open_item(b"")):
        for whole in (
            element(hostile.REFERENCED_IMAGES, b"SQ", items),
            hostile.open_sequence(hostile.REFERENCED_IMAGES, items),
        ):
            found = scan(instance(whole)).data_set.find(hostile.REFERENCED_IMAGES)
            assert found is not None
            assert isinstance(found.items, list)
            assert [[one.tag for one in data_set.elements] for data_set in found.items] == [
                [0x00081150, 0x00081155],
                [],
            ]
            assert found.length == len(whole) - 12


def test_unknown_vr_is_read_by_the_dictionary_and_unknown_sequences_as_implicit():
    content = item(hostile.implicit(0x00081150, b"1.2\0"))
    sequence = element(hostile.REFERENCED_IMAGES, b"UN", content)
    patient = element(hostile.PATIENT_ID, b"UN", b"A1")
    private = hostile.open_sequence(0x00431001, content, b"UN")
    scanned = scan(instance(sequence, patient, private))
    found = {one.tag: one for one in scanned.data_set.elements}
    assert found[hostile.PATIENT_ID].vr == "LO"
    for tag in (hostile.REFERENCED_IMAGES, 0x00431001):
        assert found[tag].vr == "SQ"
        assert found[tag].items[0].implicit
        assert found[tag].items[0].elements[0].vr == "UI"


def test_fragments_are_found_without_their_item_headers():
    table, first, second = b"\0\0\0\0\x0a\0\0\0", b"ab", b"cdef"
    octets = hostile.part10(hostile.data_set() + hostile.encapsulated(first, second, table=table), hostile.RLE)
    pixels = scan(octets).data_set.find(hostile.PIXEL_DATA)
    assert pixels is not None
    assert isinstance(pixels.items, Fragments)
    spans = zip(pixels.items.offsets, pixels.items.lengths, strict=True)
    assert [octets[offset : offset + length] for offset, length in spans] == [first, second]
    assert octets[pixels.items.table_offset :][: pixels.items.table_length] == table
    assert pixels.offset + pixels.length == len(octets)


@pytest.mark.parametrize(
    ("limits", "extra"),
    [
        (ScanLimits(nesting=2), [hostile.nested(3, undefined=False)]),
        (ScanLimits(elements=5), [element(hostile.PATIENT_ID, b"LO"), element(hostile.ROWS, b"US")]),
        (ScanLimits(private_elements=1), [element(0x00090010, b"LO"), element(0x00090011, b"LO")]),
        (ScanLimits(value_bytes=2000), [element(0x00189074, b"UT", bytes(2002))]),
        (ScanLimits(header_bytes=3000), [element(tag, b"UT", bytes(2002)) for tag in (0x00189074, 0x00189075)]),
        (ScanLimits(fragments=1), [hostile.encapsulated(b"ab", b"cd")]),
    ],
)
def test_limits_are_settings(limits: ScanLimits, extra: list[bytes]):
    octets = instance(*extra)
    scan(octets)
    with pytest.raises(OverLimit):
        scan(octets, limits=limits)


def test_long_binary_values_do_not_count_as_header():
    octets = instance(element(0x00420011, b"OB", bytes(2**21)), element(hostile.PIXEL_DATA, b"OW", bytes(2**21)))
    assert scan(octets, limits=ScanLimits(header_bytes=2000, value_bytes=2000)).size == len(octets)


def test_instance_of_too_many_bytes_is_refused_before_it_is_read():
    with pytest.raises(InstanceTooLarge):
        scan(instance(), limits=ScanLimits(object_bytes=200))
    inflating = hostile.part10(hostile.bomb(2 * 2**20), hostile.DEFLATED)
    scan(inflating)
    with pytest.raises(InstanceTooLarge):
        scan(inflating, limits=ScanLimits(object_bytes=2**20))


def test_large_deflated_data_set_is_read_without_keeping_it():
    text = element(0x00204000, b"LT", b"before")
    pixels = random.Random(1).randbytes(2**18) * 48  # repeats beyond the reach of deflate: 12 MiB that hardly shrink
    content = hostile.data_set(text, element(hostile.PIXEL_DATA, b"OB", pixels)) + element(0xFFFCFFFC, b"OB", b"end.")
    octets = hostile.part10(hostile.deflated(content), hostile.DEFLATED)
    tracemalloc.start()
    scanned = scan(octets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
    within = scanned.octets(octets)
    assert within.size == len(content)
    for tag, expected in ((0xFFFCFFFC, b"end."), (hostile.PIXEL_DATA, pixels), (0x00204000, b"before")):
        found = scanned.data_set.find(tag)
        assert found is not None
        assert within.read(found.offset, found.length) == expected  # forwards, then back to the beginning
    with pytest.raises(Malformed):
        within.read(len(content) - 2, 3)


SMALL = [path.read_bytes() for path in sample_files.installed() if path.stat().st_size < 6000]


@st.composite
def broken_samples(draw: st.DrawFn) -> bytes:
    octets = bytearray(draw(st.sampled_from(SMALL)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(octets)))
        piece = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([hostile.ITEM_END, hostile.SEQUENCE_END, item(), item(length=hostile.UNDEFINED)]),
                st.sampled_from([b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"SQ", b"UN", b"OB", b"\0\0"]),
            )
        )
        octets[place : place + draw(st.sampled_from([0, len(piece), 8, 200]))] = piece
    return bytes(octets)


@settings(max_examples=400, deadline=None)
@given(broken_samples())
def test_broken_instance_is_refused_or_understood_the_same_from_memory_and_file(octets: bytes):
    results = []
    for source in (octets, io.BytesIO(octets)):
        try:
            results.append(read_structure(source).data_set)
        except UnusableInstance as refused:
            results.append(type(refused))
    assert results[0] == results[1]
