from __future__ import annotations

import struct
import warnings

import pydicom
import pytest

from storage.attributes import UNREADABLE, Path, locate_bulk, values_of
from storage.scan import read_structure, scan
from storage.unusable import UnusableInstance
from tests.storage import hostile, sample_files
from tests.storage.hostile import element, instance, item

PATIENT_NAME, PATIENT_ID, STUDY_DATE, ROWS = (0x00100010,), (0x00100020,), (0x00080020,), (0x00280010,)
ISSUER, QUALIFIERS = (0x00100021,), (0x00100024, 0x00400032)
STEP_ID = (0x00400275, 0x00400009)


def value_of(octets: bytes, path: Path) -> tuple[str, ...]:
    return values_of(scan(octets), octets, [path])[path]


def test_indexed_values_are_those_that_pydicom_reads():
    paths = {"PatientName": PATIENT_NAME, "PatientID": PATIENT_ID, "StudyDate": STUDY_DATE, "Rows": ROWS}
    paths |= {"StudyDescription": (0x00081030,), "InstanceNumber": (0x00200013,), "AccessionNumber": (0x00080050,)}
    paths |= {"ModalitiesInStudy": (0x00080061,), "ImageType": (0x00080008,)}
    compared = 0
    for file in sample_files.everything():
        octets = file.read_bytes()
        try:
            structure = read_structure(octets)
        except UnusableInstance:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = pydicom.dcmread(file, stop_before_pixels=True)
            found = values_of(structure, octets, paths.values())
            for keyword, path in paths.items():
                value = data_set.get(keyword)
                values = list(value) if isinstance(value, pydicom.multival.MultiValue) else [value]
                expected = tuple(str(one).strip() for one in values if one is not None and str(one))
                assert tuple(text.rstrip("=") for text in found[path] if text) == expected, (file.name, keyword)
                compared += 1
    assert compared > 1500


def test_values_of_every_item_are_found():
    steps = [item(element(0x00400009, b"SH", text)) for text in (b"STEP-1", b"STEP-2  ")]
    octets = instance(element(0x00400275, b"SQ", steps[0] + item() + steps[1]))
    assert value_of(octets, STEP_ID) == ("STEP-1", "STEP-2")


def test_values_are_decoded_split_and_stripped():
    octets = instance(
        element(0x00080005, b"CS", b"ISO_IR 192"),
        element(0x00080008, b"CS", b"A\\ B \\C "),
        element(0x00100010, b"PN", hostile.even("Мюллер^Ян=x".encode(), b" ")),
        element(0x00280010, b"US", struct.pack("<H", 512)),
    )
    assert value_of(octets, (0x00080008,)) == ("A", "B", "C")
    assert value_of(octets, PATIENT_NAME) == ("Мюллер^Ян=x",)
    assert value_of(octets, ROWS) == ("512",)
    assert value_of(octets, PATIENT_ID) == ()


@pytest.mark.parametrize(
    "written",
    [
        element(0x00100020, b"LO", b"A\x00B1"),
        element(0x00100020, b"LO", b"A\x01B1"),
        element(0x00100020, b"LO", b"A1\n\x00BC"),
        element(0x00100020, b"OB", b"A1"),
        element(0x00100020, b"US", b"A1"),
        element(0x00100020, b"LO", b"A1\x85 "),
    ],
)
def test_identifier_that_cannot_be_read_is_stated_but_equals_no_other(written: bytes):
    assert value_of(instance(written), PATIENT_ID) == (UNREADABLE,)


def test_two_identifiers_that_cannot_be_decoded_do_not_become_one():
    utf_8 = element(0x00080005, b"CS", b"ISO_IR 192")
    for name in (b"M\xfcller", b"M\xf6ller"):
        assert value_of(instance(utf_8, element(0x00100020, b"LO", name)), PATIENT_ID) == (UNREADABLE,)


def test_issuer_that_cannot_be_read_is_not_taken_for_absent():
    assert value_of(instance(element(0x00100021, b"OB", b"ab")), ISSUER) == (UNREADABLE,)
    assert value_of(instance(element(0x00100024, b"OB", b"ab")), QUALIFIERS) == (UNREADABLE,)
    assert value_of(instance(element(0x00100024, b"SQ", item(element(0x00400032, b"OB", b"ab")))), QUALIFIERS) == (
        UNREADABLE,
    )
    assert value_of(instance(element(0x00100021, b"LO", b"")), ISSUER) == ()


def test_other_values_lose_what_is_no_text():
    assert value_of(instance(element(0x00081030, b"LO", b"a\x00b\x01")), (0x00081030,)) == ("a\ufffdb\ufffd",)
    assert value_of(instance(element(0x00081030, b"OB", b"ab")), (0x00081030,)) == ()
    assert value_of(instance(element(0x00280010, b"LO", b"12")), ROWS) == ()
    assert value_of(instance(element(0x00280010, b"UL", b"abcdef")), ROWS) == ()


def test_bulk_data_is_located_by_its_reference():
    icon = element(0x00880200, b"SQ", item() + item(element(hostile.PIXEL_DATA, b"OW", b"icon")))
    octets = instance(
        element(hostile.REFERENCED_IMAGES, b"SQ", item(icon)), element(hostile.PIXEL_DATA, b"OB", b"pixels")
    )
    structure = scan(octets)
    for path, expected in (("7FE00010", b"pixels"), ("00081140/0/00880200/1/7FE00010", b"icon")):
        found = locate_bulk(structure, path)
        assert found is not None
        assert octets[found.offset : found.offset + found.length] == expected
        assert found.fragments is None
        assert found.little_endian


@pytest.mark.parametrize(
    "path",
    [
        "",
        "7fe00010",
        "7FE0010",
        "7FE00010/",
        "7FE00010\n",
        "/7FE00010",
        "00081140",
        "00081140/0",
        "00081140/1/7FE00010",
        "00081140/-1/7FE00010",
        "00081140/0000000/7FE00010",
        "7FE00010/0/7FE00010",
        "00081140/0/" * 40 + "7FE00010",
        "../7FE00010",
        "00420011",
        "\u0660" * 8,
    ],
)
def test_reference_that_names_nothing_leads_nowhere(path: str):
    octets = instance(element(hostile.REFERENCED_IMAGES, b"SQ", item()), element(hostile.PIXEL_DATA, b"OB", b"ab"))
    assert locate_bulk(scan(octets), path) is None


def test_encapsulated_bulk_data_comes_with_its_fragments():
    octets = hostile.part10(hostile.data_set() + hostile.encapsulated(b"abcd", b"ef"), hostile.RLE)
    found = locate_bulk(scan(octets), "7FE00010")
    assert found is not None
    assert found.fragments is not None
    assert list(found.fragments.lengths) == [4, 2]
