"""From a scanned instance to the columns of the catalog.

What is missing, empty, unparsable, or longer than an index takes is NULL, and so is an identity that is stated more
than once: NULL matches every deny, and no permit that is narrowed on it (law 3).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from storage import bulk
from storage.attributes import locate_bulk, values_of
from storage.dicom_json import BASE_MARK, encode_lines
from storage.fragment import ABSENT_LENGTH, TAG, series_fragment, study_fragment
from storage.frames import frame_table
from storage.octets import Source
from storage.person_name import name_key
from storage.scan import Scanned

Column = str | int | bytes | None

MODALITY, STUDY_DATE, STUDY_TIME = (0x00080060,), (0x00080020,), (0x00080030,)
ACCESSION_NUMBER, REFERRING_PHYSICIAN_NAME, STUDY_DESCRIPTION = (0x00080050,), (0x00080090,), (0x00081030,)
STUDY_ID, TIMEZONE_OFFSET_FROM_UTC = (0x00200010,), (0x00080201,)
PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID = (0x00100010,), (0x00100020,), (0x00100021,)
PATIENT_BIRTH_DATE, PATIENT_SEX = (0x00100030,), (0x00100040,)
ISSUER_UNIVERSAL_ENTITY_ID = (0x00100024, 0x00400032)  # IssuerOfPatientIDQualifiersSequence, UniversalEntityID
SERIES_NUMBER, SERIES_DESCRIPTION = (0x00200011,), (0x0008103E,)
PPS_START_DATE, PPS_START_TIME = (0x00400244,), (0x00400245,)
REQUEST_ATTRIBUTES_SEQUENCE = b"00400275"
INSTANCE_NUMBER, NUMBER_OF_FRAMES = (0x00200013,), (0x00280008,)
ROWS, COLUMNS, BITS_ALLOCATED = (0x00280010,), (0x00280011,), (0x00280100,)

PATHS: Final = (
    *(MODALITY, STUDY_DATE, STUDY_TIME, ACCESSION_NUMBER, REFERRING_PHYSICIAN_NAME, STUDY_DESCRIPTION, STUDY_ID),
    *(TIMEZONE_OFFSET_FROM_UTC, PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID, PATIENT_BIRTH_DATE, PATIENT_SEX),
    *(ISSUER_UNIVERSAL_ENTITY_ID, SERIES_NUMBER, SERIES_DESCRIPTION, PPS_START_DATE, PPS_START_TIME),
    *(INSTANCE_NUMBER, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED),
)

LONGEST_TEXT: Final = 400  # characters of an indexed text: no VR of these has more than 324, and an index page holds it
BIGGEST: Final = 2**63 - 1
BIGGEST_SMALL: Final = 2**31 - 1

Values = Mapping[tuple[int, ...], Sequence[str]]

_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})", re.ASCII).fullmatch
_TIME = re.compile(r"([01]\d|2[0-3])(?:(:?)([0-5]\d)(?:\2([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII).fullmatch
_SURROGATE = re.compile(r"[\ud800-\udfff]").search
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """The columns that an instance gives to its study, its series, the requests of its series, and itself.

    `study`, `series` and `instance` lack what only the catalog knows: keys, revisions, instants, fragments.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    study: Mapping[str, Column]
    series: Mapping[str, Column]
    requests: Sequence[tuple[str | None, str | None]]
    instance: Mapping[str, Column]
    lines: Sequence[bytes]
    study_fragment: bytes
    series_fragment: bytes


def index(scanned: Scanned, source: Source, default_issuer: str) -> Indexed:
    """The columns of this instance; a PatientID that names no issuer was assigned by `default_issuer`."""
    values = values_of(scanned, source, PATHS)
    lines = encode_lines(scanned, source)
    return Indexed(
        study_instance_uid=scanned.study_instance_uid,
        series_instance_uid=scanned.series_instance_uid,
        sop_instance_uid=scanned.sop_instance_uid,
        sop_class_uid=scanned.sop_class_uid,
        study=_study_columns(values, default_issuer),
        series=_series_columns(values),
        requests=_requests(lines),
        instance=_instance_columns(scanned, source, values, lines),
        lines=lines,
        study_fragment=study_fragment(lines),
        series_fragment=series_fragment(lines),
    )


def date_text(text: str | None) -> str | None:
    """A DA value as YYYYMMDD, also one in the form of ACR-NEMA with dots; None when it is no day of the calendar."""
    match = _DATE(text or "")
    if match is None:
        return None
    year, _, month, day = match.groups()
    try:
        dt.date(int(year), int(month), int(day))
    except ValueError:
        return None
    return f"{year}{month}{day}"


def time_text(text: str | None) -> str | None:
    """A TM value as HH, HHMM, HHMMSS or HHMMSS.FFFFFF, without the colons of ACR-NEMA; None when it is no time."""
    match = _TIME(text or "")
    if match is None:
        return None
    hour, _, minute, second, fraction = match.groups()
    return "".join(part for part in (hour, minute, second, fraction) if part)


def _study_columns(values: Values, default_issuer: str) -> dict[str, Column]:
    patient_id = _only(values, PATIENT_ID)
    name, physician = _text(values, PATIENT_NAME), _text(values, REFERRING_PHYSICIAN_NAME)
    return {
        "patient_id": patient_id,
        "issuer": _issuer(values, default_issuer) if patient_id else None,
        "patient_name": name,
        "patient_name_key": name_key(name),
        "patient_birth_date": date_text(_only(values, PATIENT_BIRTH_DATE)),
        "patient_sex": _only(values, PATIENT_SEX),
        "study_date": date_text(_only(values, STUDY_DATE)),
        "study_time": time_text(_only(values, STUDY_TIME)),
        "accession_number": _only(values, ACCESSION_NUMBER),
        "referring_physician_name": physician,
        "referring_physician_name_key": name_key(physician),
        "study_id": _only(values, STUDY_ID),
        "study_description": _text(values, STUDY_DESCRIPTION),
        "timezone_offset": _only(values, TIMEZONE_OFFSET_FROM_UTC),
    }


def _issuer(values: Values, default_issuer: str) -> str | None:
    """Who assigned the PatientID; None when that is stated in a way that cannot be read, so that nobody is taken for
    somebody else.
    """
    for path in (ISSUER_OF_PATIENT_ID, ISSUER_UNIVERSAL_ENTITY_ID):
        if any(values[path]):
            return _only(values, path)
    return default_issuer


def _series_columns(values: Values) -> dict[str, Column]:
    return {
        "modality": _only(values, MODALITY),
        "series_number": _integer(values, SERIES_NUMBER),
        "series_description": _text(values, SERIES_DESCRIPTION),
        "performed_procedure_step_start_date": date_text(_only(values, PPS_START_DATE)),
        "performed_procedure_step_start_time": time_text(_only(values, PPS_START_TIME)),
    }


def _requests(lines: Sequence[bytes]) -> list[tuple[str | None, str | None]]:
    """Scheduled procedure step and requested procedure of each item of the request attributes."""
    line = next((line for line in lines if line[TAG] == REQUEST_ATTRIBUTES_SEQUENCE), None)
    if line is None:
        return []
    items = orjson.loads(line[ABSENT_LENGTH:].replace(BASE_MARK, b"")).get("Value", [])
    pairs = [(_text_in(one, "00400009"), _text_in(one, "00401001")) for one in items]
    return [pair for pair in dict.fromkeys(pairs) if any(pair)]


def _text_in(one: Any, tag: str) -> str | None:
    """The one text of an attribute of an item."""
    values = one.get(tag, {}).get("Value", [])
    return _short(values[0]) if len(values) == 1 and isinstance(values[0], str) else None


def _instance_columns(scanned: Scanned, source: Source, values: Values, lines: Sequence[bytes]) -> dict[str, Column]:
    table = frame_table(scanned, source)
    return {
        "sop_instance_uid": scanned.sop_instance_uid,
        "sop_class_uid": scanned.sop_class_uid,
        "instance_number": _integer(values, INSTANCE_NUMBER),
        "rows": _integer(values, ROWS, BIGGEST_SMALL),
        "columns": _integer(values, COLUMNS, BIGGEST_SMALL),
        "bits_allocated": _integer(values, BITS_ALLOCATED, BIGGEST_SMALL),
        "number_of_frames": _integer(values, NUMBER_OF_FRAMES),
        "transfer_syntax_uid": scanned.transfer_syntax_uid,
        "data_set_offset": scanned.data_set_offset,
        "frames": table.to_bytes() if table is not None else None,
        "bulk": _bulk(scanned, lines),
    }


def _bulk(scanned: Scanned, lines: Sequence[bytes]) -> bytes | None:
    found = [(path, vr, locate_bulk(scanned, path)) for vr, path in bulk.references(lines)]
    return bulk.pack(
        (
            path,
            bulk.BulkValue(
                offset=place.offset,
                length=place.length,
                vr=vr,
                little_endian=place.little_endian,
                encapsulated=place.fragments is not None,
            ),
        )
        for path, vr, place in found
        if place is not None
    )


def _only(values: Values, path: tuple[int, ...]) -> str | None:
    """The text of an attribute that has one value: with several, there is no telling which one is meant."""
    found = values[path]
    return _short(found[0]) if len(found) == 1 else None


def _text(values: Values, path: tuple[int, ...]) -> str | None:
    """The text of an attribute, all its values joined as they were written."""
    return _short("\\".join(values[path]))


def _short(text: str) -> str | None:
    """`text`, unless it is empty or what no database takes: too long for an index, with a NUL, or no Unicode."""
    fits = 0 < len(text) <= LONGEST_TEXT and "\0" not in text and not _SURROGATE(text)
    return text if fits else None


def _integer(values: Values, path: tuple[int, ...], biggest: int = BIGGEST) -> int | None:
    text = values[path][0] if values[path] else ""
    if not _INTEGER(text):
        return None
    number = int(text)
    return number if abs(number) <= biggest else None
