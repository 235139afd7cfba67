"""What goes into the columns of the catalog, and what becomes NULL."""

from __future__ import annotations

import warnings

import pytest

from storage.bulk import BulkValue, find, pack, unpack
from storage.index import date_text, index, time_text
from storage.octets import open_octets
from storage.scan import scan
from tests.storage import made_up, sample_files


def indexed(**attributes: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = made_up.instance(**attributes)
    return index(scan(file), file, "LOCAL")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240229", "20240229"),
        ("2024.02.29", "20240229"),
        ("20230229", None),
        ("2024.0229", None),
        ("202402", None),
        ("99999999", None),
        ("\u0662\u0660\u0662\u0664\u0660\u0662\u0662\u0669", None),
        ("", None),
        (None, None),
    ],
)
def test_a_date_is_a_day_of_the_calendar(text: str | None, expected: str | None) -> None:
    assert date_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", "10"),
        ("1015", "1015"),
        ("101530", "101530"),
        ("101530.123456", "101530.123456"),
        ("10:15:30.5", "101530.5"),
        ("235960", "235960"),
        ("24", None),
        ("1061", None),
        ("10:1530", None),
        ("101530.1234567", None),
        ("1015.5", None),
        ("", None),
    ],
)
def test_a_time_is_a_time_of_day(text: str, expected: str | None) -> None:
    assert time_text(text) == expected


def item(**values: str):
    found = made_up.Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def test_the_issuer_is_the_stated_one_or_the_default() -> None:
    assert indexed().study["issuer"] == "LOCAL"
    assert indexed(IssuerOfPatientID="").study["issuer"] == "LOCAL"
    assert indexed(IssuerOfPatientID="A").study["issuer"] == "A"
    qualifiers = [item(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")]
    assert indexed(IssuerOfPatientIDQualifiersSequence=qualifiers).study["issuer"] == "1.2.3"
    assert indexed(IssuerOfPatientID="A", IssuerOfPatientIDQualifiersSequence=qualifiers).study["issuer"] == "A"


def test_an_issuer_that_cannot_be_read_is_not_the_default() -> None:
    assert indexed(IssuerOfPatientID=["A", "B"]).study["issuer"] is None
    assert indexed(IssuerOfPatientID="A" * 500).study["issuer"] is None
    two = [item(UniversalEntityID="1"), item(UniversalEntityID="2")]
    assert indexed(IssuerOfPatientIDQualifiersSequence=two).study["issuer"] is None


def test_an_identity_that_is_stated_twice_is_none() -> None:
    study = indexed(PatientID=["A", "B"], StudyDate=["20240101", "20240102"]).study
    assert (study["patient_id"], study["issuer"], study["study_date"]) == (None, None, None)
    assert indexed(Modality=["CT", "SR"]).series["modality"] is None


def test_an_empty_identifier_is_none() -> None:
    assert indexed(PatientID="   ").study["patient_id"] is None


def test_numbers_that_no_column_takes_are_null() -> None:
    found = indexed(InstanceNumber="2147483648", SeriesNumber=None).instance
    assert found["instance_number"] == 2147483648
    assert indexed(SeriesNumber=None).series["series_number"] is None


def test_request_attributes_stay_in_their_pairs() -> None:
    pairs = [item(ScheduledProcedureStepID="S1", RequestedProcedureID="P1")] * 2
    pairs.append(item(ScheduledProcedureStepID="S2", RequestedProcedureID="P2"))
    assert list(indexed(RequestAttributesSequence=pairs).requests) == [("S1", "P1"), ("S2", "P2")]
    uneven = [item(ScheduledProcedureStepID="S1"), item(RequestedProcedureID="P2")]
    assert list(indexed(RequestAttributesSequence=uneven).requests) == [("S1", None), (None, "P2")]


def test_every_bulk_data_reference_leads_to_its_bytes() -> None:
    seen = 0
    for path in sample_files.everything():
        file = path.read_bytes()
        try:
            scanned = scan(file)
            columns = index(scanned, file, "LOCAL").instance
        except Exception as error:
            if type(error).__module__ != "storage.unusable":
                raise
            continue
        for place in unpack(columns["bulk"]).values():
            octets = scanned.octets(file) if scanned.inflated else open_octets(file)
            assert len(octets.read(place.offset, place.length)) == place.length
            seen += 1
        pixels = find(columns["bulk"], "7FE00010")
        assert (pixels is not None) == (b"7FE00010\x22" in b"".join(index(scanned, file, "L").lines)), path
    assert seen > 100


def test_places_of_bulk_data_survive_packing() -> None:
    places = {
        "7FE00010": BulkValue(offset=1, length=2**40, vr="OW", little_endian=True, encapsulated=False),
        "00082112/0/00880200/12/7FE00010": BulkValue(
            offset=2**50, length=0, vr="OB", little_endian=False, encapsulated=True
        ),
    }
    packed = pack(places.items())
    assert unpack(packed) == places
    assert find(packed, "7FE00010") == places["7FE00010"]
    assert find(packed, "00082112") is None
    assert find(None, "7FE00010") is None
    assert pack([]) is None
    assert unpack(None) == {}
