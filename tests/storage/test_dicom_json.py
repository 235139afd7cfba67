from __future__ import annotations

import base64
import io
import json
import math
import re
import struct
import warnings
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from storage import json_values
from storage.dicom_json import BASE_MARK, INLINE_BYTES, LABOUR_BYTES, encode_lines
from storage.scan import read_structure
from storage.unusable import UnusableInstance
from tests.storage import hostile, sample_files
from tests.storage.hostile import element, instance, item

THRESHOLD = 3000
PIXELS = ("7FE00008", "7FE00009", "7FE00010")


def document(octets: bytes, threshold: int = THRESHOLD) -> dict[str, Any]:
    """Our document, every line of it checked against the rules of the model on the way (PS3.18 Annex F)."""
    lines = encode_lines(read_structure(octets), octets, bulk_threshold=threshold)
    assert lines == sorted(lines)
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    found = json.loads(b"{" + b",".join(lines).replace(BASE_MARK, b"@/") + b"}", parse_constant=pytest.fail)
    assert len(found) == len(lines)
    check_model(found)
    return found


def check_model(data_set: dict[str, Any]) -> None:
    """J1 to J14 of the DICOM JSON model."""
    assert list(data_set) == sorted(data_set)
    for tag, attribute in data_set.items():
        assert re.fullmatch(r"[0-9A-F]{8}", tag)
        assert not tag.endswith("0000")
        assert not tag.startswith("0002")
        kinds = attribute.keys() - {"vr"}
        assert kinds in (set(), {"Value"}, {"InlineBinary"}, {"BulkDataURI"})
        assert re.fullmatch(r"[A-Z]{2}", attribute["vr"])
        if "InlineBinary" in kinds:
            assert attribute["vr"] in {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
            base64.b64decode(attribute["InlineBinary"], validate=True)
        if "Value" in kinds:
            assert attribute["Value"]
            for value in attribute["Value"]:
                check_value(attribute["vr"], value)


def check_value(vr: str, value: Any) -> None:
    if vr == "SQ":
        check_model(value)
    elif vr == "PN":
        assert value is None or (value and all(value.values()))
        assert (value or {}).keys() <= {"Alphabetic", "Ideographic", "Phonetic"}
    elif vr == "AT":
        assert re.fullmatch(r"[0-9A-F]{8}", value)
    elif vr in {"FL", "FD"}:
        assert value is None or math.isfinite(value)
    elif vr in {"US", "SS", "UL", "SL"}:
        assert isinstance(value, int)
    elif vr in {"DS", "IS", "SV", "UV"}:
        assert value is None or isinstance(value, int | float | str)
    else:
        assert value is None or (isinstance(value, str) and value)


# What we write on purpose otherwise than pydicom's to_json_dict, brought to our form before the two are compared:
# - group lengths are left out, and pixel data is bulk data however short it is
# - person names hold their non-empty component groups alone, and are null when they have none
# - an empty value among several is null, and padding goes from each value, not from the last alone
# - a sequence without items has no Value
# - NaN and infinity are null
# - words of a big endian value are swapped to little endian
# - a number written in text is a JSON number or text, never another number: the two are compared by value
def as_ours(data_set: dict[str, Any], swapped: frozenset[str] = frozenset()) -> dict[str, Any]:
    return {tag: one(tag, attribute, swapped) for tag, attribute in data_set.items() if not tag.endswith("0000")}


def one(tag: str, attribute: dict[str, Any], swapped: frozenset[str]) -> dict[str, Any]:
    vr = attribute["vr"]
    if tag in PIXELS and "InlineBinary" in attribute:
        return {"vr": vr, "BulkDataURI": "bulk"}
    if vr in swapped and "InlineBinary" in attribute:
        swapped_octets = json_values.little_endian(base64.b64decode(attribute["InlineBinary"]), vr)
        return {"vr": vr, "InlineBinary": base64.b64encode(swapped_octets).decode()}
    values = [a_value(vr, value, swapped) for value in attribute.get("Value", [])]
    return {**attribute, "Value": values} if values else {key: attribute[key] for key in attribute if key != "Value"}


def a_value(vr: str, value: Any, swapped: frozenset[str]) -> Any:
    if vr == "SQ":
        return as_ours(value, swapped)
    if vr == "PN":
        return {group: text.rstrip() for group, text in value.items() if text.rstrip()} or None
    if vr in {"DS", "IS"}:
        return None if value in ("", None) else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return (value.rstrip(" \0") or None) if isinstance(value, str) else value


def comparable(data_set: dict[str, Any]) -> dict[str, Any]:
    """Ours with the numbers in texts read, and the bulk data references shortened."""
    out = {}
    for tag, attribute in data_set.items():
        out[tag] = dict(attribute)
        if "BulkDataURI" in attribute:
            out[tag]["BulkDataURI"] = "bulk"
        if attribute["vr"] == "SQ" and "Value" in attribute:
            out[tag]["Value"] = [comparable(one) for one in attribute["Value"]]
        if attribute["vr"] in {"DS", "IS"} and "Value" in attribute:
            out[tag]["Value"] = [value if value is None else float(value) for value in attribute["Value"]]
    return out


def by_pydicom(octets: bytes) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(io.BytesIO(octets))
        found = data_set.to_json_dict(
            bulk_data_threshold=THRESHOLD // 3 * 4, bulk_data_element_handler=lambda _: "bulk"
        )
    big_endian = data_set.file_meta.TransferSyntaxUID == hostile.BIG_ENDIAN
    return as_ours(json.loads(json.dumps(found)), frozenset({"OW", "OL", "OF", "OD", "OV"} if big_endian else ()))


def test_every_sample_file_reads_as_pydicom_reads_it():
    compared = 0
    for path in sample_files.everything():
        octets = path.read_bytes()
        try:
            ours = document(octets)
        except UnusableInstance:
            continue
        if path.name == "badVR.dcm":  # pydicom fails: the text 1A in an IS
            assert ours["00280008"] == {"vr": "IS", "Value": ["1A"]}
            continue
        assert comparable(ours) == by_pydicom(octets), path.name
        compared += 1
    assert compared > 170


TEXTS = {
    None: "AZaz09 .,-+<>&'\"",
    "ISO_IR 100": "AZaz09 äöüßÑé",
    "ISO_IR 192": "AZ äЖ漢字🩻\u2028",
    "ISO_IR 144": "AZ ЖДфы",
    "GB18030": "AZ 王小东",
    ("", "ISO 2022 IR 87"): "AZ やまだ山田",
    ("", "ISO 2022 IR 149"): "AZ 홍길동",
}
NUMBERS = {
    "US": st.integers(0, 2**16 - 1),
    "SS": st.integers(-(2**15), 2**15 - 1),
    "UL": st.integers(0, 2**32 - 1),
    "SL": st.integers(-(2**31), 2**31 - 1),
    "FL": st.floats(width=32),
    "FD": st.floats(),
    "IS": st.integers(-(2**31), 2**31 - 1),
    "DS": st.decimals(-(10**6), 10**6, places=4).map(str),
    "AT": st.integers(0, 2**32 - 1),
}


def known_tags() -> dict[str, list[tuple[int, bool]]]:
    """The elements of the dictionary by VR, and whether they may have several values."""
    tags: dict[str, list[tuple[int, bool]]] = {}
    for tag, (vr, multiplicity, *_) in DicomDictionary.items():
        if 0x0008 <= tag >> 16 < 0x7FE0 and tag not in {0x00080001, 0x00080005} and len(vr) == 2:
            tags.setdefault(vr, []).append((tag, multiplicity.endswith("n")))
    return tags


TAGS = known_tags()
WRITTEN = sorted(TAGS.keys() - {"UN", "UV", "SV", "OV", "OL", "OD", "OF", "UR", "UC", "AS", "DT"})


def text_values(vr: str, alphabet: str) -> st.SearchStrategy[Any]:
    words = {
        "CS": st.text("AZ09_", max_size=6),
        "DA": st.just("20040229"),
        "TM": st.just("120000.5"),
        "UI": st.just("1.2.840.1"),
        "AE": st.text("AZ09", max_size=6),
        "PN": st.lists(st.text(alphabet, max_size=4), max_size=3).map("^".join),
    }
    return words.get(vr, st.text(alphabet, max_size=12))


@st.composite
def data_sets(draw: st.DrawFn, charset: Any, depth: int = 0) -> Dataset:
    made = Dataset()
    if depth == 0 and charset:
        made.SpecificCharacterSet = charset if isinstance(charset, str) else list(charset)
    for vr in draw(st.lists(st.sampled_from(WRITTEN), max_size=8)):
        tag, several = draw(st.sampled_from(TAGS[vr]))
        if vr == "SQ":
            items = draw(st.lists(data_sets(charset, depth + 1), max_size=2)) if depth < 3 else []
            made.add_new(tag, vr, Sequence(items))
        elif vr in {"OB", "OW"}:
            made.add_new(tag, vr, draw(st.binary(max_size=20)) * 2)
        elif vr in NUMBERS:
            made.add_new(tag, vr, draw(st.lists(NUMBERS[vr], max_size=3 if several else 1)))
        else:
            made.add_new(tag, vr, draw(text_values(vr, TEXTS[charset])))
    return made


def written(data_set: Dataset, transfer_syntax: str) -> bytes:
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data_set.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    data_set.file_meta.TransferSyntaxUID = transfer_syntax
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    return out.getvalue()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_data_set_reads_as_pydicom_reads_it_in_every_uncompressed_transfer_syntax(data: st.DataObject):
    charset = data.draw(st.sampled_from(list(TEXTS)))
    made = data.draw(data_sets(charset))
    syntaxes = [hostile.IMPLICIT, hostile.EXPLICIT, hostile.BIG_ENDIAN, hostile.DEFLATED]
    octets = written(made, data.draw(st.sampled_from(syntaxes)))
    assert comparable(document(octets)) == by_pydicom(octets)


def attribute(vr: bytes, value: bytes, tag: int = 0x00411001) -> dict[str, Any]:
    found = document(instance(element(tag, vr, hostile.even(value, b" "))))
    return dict(found[f"{tag:08X}"])


@pytest.mark.parametrize("vr", sorted(hostile.LONG | {b"LO", b"PN", b"US", b"DS", b"AT", b"FD"}))
def test_empty_attribute_is_its_vr_alone(vr: bytes):
    assert attribute(vr, b"") == {"vr": vr.decode()}


@pytest.mark.parametrize("vr", [b"LO", b"PN", b"LT", b"CS", b"DS", b"IS", b"UI", b"UR", b"UT"])
def test_padding_alone_is_empty(vr: bytes):
    assert attribute(vr, b"    ") == {"vr": vr.decode()}


@pytest.mark.parametrize(
    ("written_as", "json_text"),
    [
        (b"1.50", b"1.50"),
        (b"-300.000000 ", b"-300.000000 "[:-1]),
        (b"0.123456789012345 ", b"0.123456789012345"),
        (b"+5", b"5"),
        (b".5", b"0.5"),
        (b"-.5 ", b"-0.5"),
        (b"5.", b"5"),
        (b"007 ", b"7"),
        (b"1E3 ", b"1E3"),
        (b"1.e-5 ", b"1e-5"),
        (b"0000", b"0"),
        (b"-0", b"-0"),
        (b"1\\2", b"1,2"),
        (b" 1 \\ 2", b"1,2"),
        (b"1\\\\2 ", b"1,null,2"),
        (b"\\1", b"null,1"),
        (b"9007199254740992", b"9007199254740992"),
        (b"9007199254740993", b'"9007199254740993"'),
        (b"0.1234567890123456", b'"0.1234567890123456"'),
        (b"NaN ", b'"NaN"'),
        (b"Inf ", b'"Inf"'),
        (b"-Infinity ", b'"-Infinity"'),
        (b"1e999 ", b'"1e999"'),
        (b"1e-999", b'"1e-999"'),
        (b"1e-310", b'"1e-310"'),
        (b"1e99999 ", b'"1e99999"'),
        (b"1_0 ", b'"1_0"'),
        (b"0x10", b'"0x10"'),
        (b"1,5 ", b'"1,5"'),
        (b"- ", b'"-"'),
        (b".", b'"."'),
        (b"\xb2 ", '"²"'.encode()),
        (b"12\n ", b'"12\\n"'),
        (b"9" * 400, b'"' + b"9" * 400 + b'"'),
    ],
)
@pytest.mark.parametrize("vr", [b"DS", b"IS"])
def test_number_in_text_is_a_number_where_it_is_exact_and_text_elsewhere(
    vr: bytes, written_as: bytes, json_text: bytes
):
    octets = instance(element(0x00411001, vr, hostile.even(written_as, b" ")))
    line = encode_lines(read_structure(octets), octets)[-1]
    assert line == b'"00411001":{"vr":"%b","Value":[%b]}' % (vr, json_text)
    document(octets)


@given(st.text("0123456789+-.eE", min_size=1, max_size=16))
@settings(max_examples=500, deadline=None)
def test_json_number_is_the_number_that_was_written(text: str):
    found = attribute(b"DS", hostile.even(text.encode(), b" "))["Value"][0]
    if isinstance(found, str):
        assert found == text
    else:
        assert found == float(text)


def test_numbers_that_are_not_finite_are_null():
    assert attribute(b"FD", struct.pack("<3d", math.nan, math.inf, 1.5))["Value"] == [None, None, 1.5]
    assert attribute(b"FL", struct.pack("<f", -math.inf))["Value"] == [None]


def test_integers_beyond_the_exact_ones_of_a_double_are_texts():
    values = struct.pack("<3q", 2**53, 2**53 + 1, -(2**63))
    assert attribute(b"SV", values)["Value"] == [2**53, str(2**53 + 1), str(-(2**63))]
    assert attribute(b"UV", struct.pack("<2Q", 1, 2**64 - 1))["Value"] == [1, str(2**64 - 1)]


def test_half_a_number_is_shown_as_the_bytes_it_is():
    assert attribute(b"UL", b"abcdef") == {"vr": "UN", "InlineBinary": base64.b64encode(b"abcdef").decode()}
    assert attribute(b"FD", b"abcdefghij")["vr"] == "UN"
    assert attribute(b"AT", bytes(6))["vr"] == "UN"
    assert attribute(b"US", bytes(6))["Value"] == [0, 0, 0]


def test_person_name_has_its_filled_groups_alone():
    latin = {"Alphabetic": "Yamada^Tarou"}
    assert attribute(b"PN", b"Yamada^Tarou")["Value"] == [latin]
    assert attribute(b"PN", b"=A^B=C^D")["Value"] == [{"Ideographic": "A^B", "Phonetic": "C^D"}]
    assert attribute(b"PN", b"A^B==C=D")["Value"] == [{"Alphabetic": "A^B", "Phonetic": "C"}]
    assert attribute(b"PN", b"A\\\\==\\B")["Value"] == [{"Alphabetic": "A"}, None, None, {"Alphabetic": "B"}]


def test_texts_are_split_stripped_and_escaped():
    assert attribute(b"LO", b"a\\ b \\\\c ")["Value"] == ["a", " b", None, "c"]
    assert attribute(b"AE", b" A \\ B ")["Value"] == ["A", "B"]
    assert attribute(b"AE", b"  A1")["Value"] == ["A1"]
    assert attribute(b"LT", b' a\\b"c\r\n\0 ')["Value"] == [' a\\b"c\r\n']
    assert attribute(b"UT", b"a\\b ")["Value"] == ["a\\b"]
    assert attribute(b"UR", b"http://a/\\ ")["Value"] == ["http://a/\\"]
    assert attribute(b"CS", b"A\\B ")["Value"] == ["A", "B"]
    assert attribute(b"UI", b"1.2\\3.4\0")["Value"] == ["1.2", "3.4"]
    assert attribute(b"LO", b"a\x01\x7f\0b ")["Value"] == ["a\x01\x7f\0b"]


def test_no_value_can_forge_the_mark_of_bulk_data():
    octets = instance(element(0x00411001, b"LT", b"\x01bulkdata/7FE00010"), element(hostile.PIXEL_DATA, b"OB", b"ab"))
    lines = encode_lines(read_structure(octets), octets)
    assert [line.count(BASE_MARK) for line in lines] == [0] * (len(lines) - 1) + [1]
    assert lines[-1] == b'"7FE00010":{"vr":"OB","BulkDataURI":"\x01bulkdata/7FE00010"}'


def test_bulk_data_is_named_by_tags_and_item_numbers():
    icon = item(element(0x00880200, b"SQ", item() + item(element(hostile.PIXEL_DATA, b"OW", b"ab"))))
    octets = instance(
        element(hostile.REFERENCED_IMAGES, b"SQ", item() + icon),
        element(0x00420011, b"OB", bytes(12)),
        element(0x00420012, b"OB", bytes(10)),
    )
    found = document(octets, threshold=10)
    inner = found["00081140"]["Value"][1]["00880200"]["Value"][1]["7FE00010"]
    assert inner == {"vr": "OW", "BulkDataURI": "@/bulkdata/00081140/1/00880200/1/7FE00010"}
    assert found["00420011"] == {"vr": "OB", "BulkDataURI": "@/bulkdata/00420011"}
    assert found["00420012"] == {"vr": "OB", "InlineBinary": base64.b64encode(bytes(10)).decode()}


def test_big_endian_words_come_in_little_endian_order():
    content = hostile.data_set(
        element(0x00281201, b"OW", b"\1\2\3\4", order=">"),
        element(0x00411001, b"OD", bytes(range(8)), order=">"),
        order=">",
    )
    found = document(hostile.part10(content, hostile.BIG_ENDIAN))
    assert base64.b64decode(found["00281201"]["InlineBinary"]) == b"\2\1\4\3"
    assert base64.b64decode(found["00411001"]["InlineBinary"]) == bytes(range(7, -1, -1))


def test_empty_sequence_and_empty_item():
    sequence = element(hostile.REFERENCED_IMAGES, b"SQ", item() + hostile.open_item(b""))
    assert document(instance(sequence))["00081140"] == {"vr": "SQ", "Value": [{}, {}]}
    never_filled = hostile.open_sequence(hostile.REFERENCED_IMAGES, b"")
    assert document(instance(never_filled))["00081140"] == {"vr": "SQ"}


def test_group_lengths_and_file_meta_information_are_left_out():
    octets = instance(element(0x00080000, b"UL", bytes(4)), element(0x00100000, b"UL", bytes(4)))
    assert list(document(octets)) == ["00080016", "00080018", "0020000D", "0020000E"]


@pytest.mark.parametrize(
    ("charset", "value", "text"),
    [
        (b"", b"M\xfcller", "Müller"),
        (b"ISO_IR 100", b"M\xfcller", "Müller"),
        (b"ISO-IR 100", b"M\xfcller", "Müller"),
        (b"ISO_IR 192", "Мюллер".encode(), "Мюллер"),
        (b"ISO_IR 192", b"M\xfcller", "M\ufffdller"),
        (b"ISO_IR 192\\ISO 2022 IR 87", "山田".encode(), "山田"),
        (b"GB18030", "王\\小".encode("gb18030"), "王|小"),
        (b"GBK", b"\x90\x5c", b"\x90\x5c".decode("gbk")),  # the second byte looks like a backslash
        (b"ISO_IR 13", b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
        (b"\\ISO 2022 IR 87", b"A\x1b$B;3ED\x1b(B", "A山田"),
        (b"\\ISO 2022 IR 87", b"\x1b$B\x3b\x33\x1b(B\\B", "山|B"),
        (b"\\ISO 2022 IR 87", b"\x1b$B!\\\x1b(BZ", b"\x1b$B!\\\x1b(BZ".decode("iso2022_jp")),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^B", "洪^B"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A\xcd\xf5", "王"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 144", b"\x1b-L\xb0", "\N{CYRILLIC CAPITAL LETTER A}"),
        (b"ISO 2022 IR 6", b"\x1b-L\xb0", "\x1b-L\xb0"),  # Cyrillic was not declared
        (b"ISO_IR 192\\ISO 2022 IR 87", b"\x1b$B;3", "\x1b$B;3"),  # UTF-8 takes no extensions
        (b"nonsense", b"M\xfcller", "Müller"),
        (b"utf_7", b"+AGE-", "+AGE-"),
        (b"rot13", b"abc", "abc"),
    ],
)
def test_text_follows_the_character_set(charset: bytes, value: bytes, text: str):
    octets = instance(
        element(0x00080005, b"CS", hostile.even(charset, b" ")), element(0x00411001, b"LO", hostile.even(value, b" "))
    )
    found = document(octets)
    assert found["00411001"]["Value"] == text.split("|")
    if charset:
        assert found["00080005"]["Value"] == [name or None for name in charset.decode().split("\\")]


def test_items_inherit_the_character_set_unless_they_have_their_own():
    name = element(0x00100010, b"PN", "Ж".encode())
    latin = element(0x00080005, b"CS", b"ISO_IR 100")
    inherited, own = item(name), item(latin + element(hostile.REFERENCED_IMAGES, b"SQ", item(name)) + name)
    outer = element(0x00080005, b"CS", b"ISO_IR 192")
    found = document(instance(outer, element(hostile.REFERENCED_IMAGES, b"SQ", inherited + own)))["00081140"]["Value"]
    assert found[0]["00100010"]["Value"] == [{"Alphabetic": "Ж"}]
    assert found[1]["00100010"]["Value"] == [{"Alphabetic": "Ð\x96"}]
    assert found[1]["00081140"]["Value"][0]["00100010"]["Value"] == [{"Alphabetic": "Ð\x96"}]


@pytest.mark.parametrize(("signed", "vr", "value"), [(b"\0\0", "US", 65535), (b"\1\0", "SS", -1)])
def test_implicit_pixel_values_are_signed_as_the_pixels_are(signed: bytes, vr: str, value: int):
    padding = hostile.implicit(0x00280120, b"\xff\xff")
    nested = hostile.implicit(0x00283000, item(padding))
    octets = hostile.implicit_instance(hostile.implicit(0x00280103, signed), padding, nested)
    found = document(octets)
    assert found["00280120"] == {"vr": vr, "Value": [value]}
    assert found["00283000"]["Value"][0]["00280120"] == {"vr": vr, "Value": [value]}


def test_implicit_private_elements_keep_the_vr_that_their_creator_published():
    published = hostile.implicit(0x00190010, b"GEMS_ACQU_01") + hostile.implicit(0x00191102, b"abcd")
    content = hostile.implicit(0x00190010, b"GEMS_ACQU_01") + hostile.implicit(0x00190011, b"NOBODY 1.0")
    values = hostile.implicit(0x00191002, b"\5\0\0\0") + hostile.implicit(0x00191102, b"abcd")
    found = document(hostile.implicit_instance(content + values))
    assert found["00190010"] == {"vr": "LO", "Value": ["GEMS_ACQU_01"]}
    assert found["00191002"] == {"vr": "SL", "Value": [5]}
    assert found["00191102"]["vr"] == "UN"
    assert document(hostile.implicit_instance(published))["00191102"]["vr"] == "UN"  # its block has no creator


def test_overlays_and_curves_of_every_group_are_known():
    found = document(
        hostile.implicit_instance(hostile.implicit(0x60020010, b"\4\0"), hostile.implicit(0x60023000, b"ab"))
    )
    assert found["60020010"] == {"vr": "US", "Value": [4]}
    assert found["60023000"] == {"vr": "OW", "InlineBinary": "YWI="}


def test_laborious_values_become_bulk_data_when_there_are_too_many():
    size = 2**20
    texts = [element(0x00411000 + number, b"UT", b"\x02" * size) for number in range(LABOUR_BYTES // size + 1)]
    found = document(instance(*texts))
    inline = [tag for tag in found if "Value" in found[tag] and tag.startswith("0041")]
    assert len(inline) == LABOUR_BYTES // size
    assert [found[tag] for tag in found if tag.startswith("0041") and tag not in inline] == [
        {"vr": "UT", "BulkDataURI": f"@/bulkdata/{0x00411000 + len(inline):08X}"}
    ]


def test_inline_values_together_have_a_limit():
    size = 2**19
    binaries = [element(0x00411000 + number, b"OB", bytes(size)) for number in range(INLINE_BYTES // size + 1)]
    found = document(instance(*binaries), threshold=2**30)
    assert sum("InlineBinary" in one for one in found.values()) == INLINE_BYTES // size
    assert "BulkDataURI" in found[f"{0x00411000 + INLINE_BYTES // size:08X}"]
