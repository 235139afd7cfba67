"""The query string of a search: read once, exactly, or refused."""

from __future__ import annotations

import contextlib
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicomweb.query_string import Search, parse
from storage.errors import BadQuery
from storage.model import Level, Match


def read(text: str | bytes, level: Level = Level.STUDY, **path: str) -> Search:
    return parse(text if isinstance(text, bytes) else text.encode(), level, maximum=100, **path)


def matched(text: str | bytes) -> list[tuple[str, str]]:
    return [(".".join(match.path), match.text) for match in read(text).query.match]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PatientID=a", [("00100020", "a")]),
        ("00100020=a", [("00100020", "a")]),
        ("0020000d=1.2", [("0020000D", "1.2")]),
        ("0020000D=1.2", [("0020000D", "1.2")]),
        ("PatientName=CITIZEN%5EJ%2A", [("00100010", "CITIZEN^J*")]),
        ("PatientName=CITIZEN^J*", [("00100010", "CITIZEN^J*")]),
        ("PatientName=a+b%20c%2Bd", [("00100010", "a b c+d")]),
        ("PatientName=%25%32%30", [("00100010", "%20")]),
        ("PatientName=%E5%B1%B1", [("00100010", "\u5c71")]),
        ("PatientName=\u5c71", [("00100010", "\u5c71")]),
        ("PatientID=a=b", [("00100020", "a=b")]),
        ("PatientID", [("00100020", "")]),
        ("PatientID=", [("00100020", "")]),
        ("StudyInstanceUID=1.2%5C1.3", [("0020000D", "1.2\\1.3")]),
        ("RequestAttributesSequence.ScheduledProcedureStepID=x", [("00400275.00400009", "x")]),
        ("00400275.00400009=x", [("00400275.00400009", "x")]),
        ("&&PatientID=a&", [("00100020", "a")]),
        ("Patient%49D=a", [("00100020", "a")]),
        ("_=1&foo=bar&x-y=1&NOT=1&charset=utf-8", []),
        ("", []),
    ],
)
def test_keys_are_read_by_keyword_and_by_tag(text: str, expected: list[tuple[str, str]]) -> None:
    assert matched(text) == expected


def test_what_python_clients_quote_comes_out_as_it_was() -> None:
    value = "CITIZEN^J* \\+&=%\u00e9"
    for encode in (quote, quote_plus):
        assert matched(f"PatientName={encode(value)}") == [("00100010", value)]


def test_fields_are_read_repeated_and_with_commas() -> None:
    query = read("includefield=00081030,PatientComments&includefield=00091002&includefield=0008103e%2C00081030").query
    assert query.include == ("00081030", "00104000", "00091002", "0008103E")
    assert not query.include_all
    assert read("includefield=RequestAttributesSequence.ScheduledProcedureStepID").query.include == ("00400275",)
    assert read("includefield=all").query.include_all
    assert read("includefield=").query.include == ()


def test_pages_stay_within_the_maximum() -> None:
    assert (read("").query.limit, read("").query.offset) == (100, 0)
    assert (read("limit=5&offset=7").query.limit, read("limit=5&offset=7").query.offset) == (5, 7)
    assert read("limit=101").query.limit == 100
    assert read(f"limit={10**17}&offset={10**17}").query.offset == 10**17


def test_the_path_names_what_is_searched_in() -> None:
    query = read("Modality=CT", Level.INSTANCE, study_instance_uid="1.2", series_instance_uid="1.2.3").query
    assert (query.level, query.study_instance_uid, query.series_instance_uid) == (Level.INSTANCE, "1.2", "1.2.3")
    assert query.match == (Match(path=("00080060",), text="CT"),)


def test_the_accept_parameter_keeps_its_plus() -> None:
    assert read("accept=application/dicom+json").accept == ["application/dicom+json"]
    assert read("accept=application/dicom%2Bjson&accept=a/b").accept == ["application/dicom+json", "a/b"]


@pytest.mark.parametrize(
    "text",
    [
        b"PatientID=\xff",
        b"PatientID=%",
        b"PatientID=%4",
        b"PatientID=%c0%af",
        b"PatientID=%ed%a0%80",
        b"PatientID=a%0d%0ab",
        b"PatientID=%7f",
        b"Patient%00ID=a",
        b"PatientName.=x",
        b".=x",
        b"a.b=x",
        b"0010002=x&00100020x.1=y",
        b"FFFFFFFF=x",
        b"PATIENTID=x",
        b"studydate=20250101",
        b"limit=",
        b"limit=1.5",
        b"limit=0x10",
        b"limit=%D9%A1",
        b"limit=" + b"9" * 19,
        b"offset=+1",
        b"includefield=patientid",
        b"includefield=00081030,0008",
        b"includefield=" + b",".join(b"%08X" % number for number in range(600)),
        b".".join([b"00400275"] * 9) + b"=x",
    ],
)
def test_what_is_not_well_formed_is_refused(text: bytes) -> None:
    with pytest.raises(BadQuery) as refusal:
        read(text)
    assert "\n" not in str(refusal.value)


@given(st.binary(max_size=80))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        search = read(raw)
    except BadQuery:
        return
    assert 0 <= search.query.limit <= 100
    assert all(len(step) == 8 for match in search.query.match for step in match.path)


@given(st.text("PatientIDm=&%+.,0123456789*?-_abcdef\\^ ", max_size=80))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadQuery):
        read(text)
