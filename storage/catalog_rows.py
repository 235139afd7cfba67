"""What the catalog tells of a row: DICOM JSON objects put together from stored lines (PS3.18 10.6.3, Annex F).

An object has one attribute a line, ascending by tag; nothing is decoded to build it. What is counted, and where things
are, is never taken from a stored attribute: a file may carry numbers of its own, which say how much is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from storage.catalog_statement import FORMS
from storage.dicom_json import BASE_MARK
from storage.fragment import STUDY_TAGS, TAG, merge
from storage.model import Level, Query

Lines = dict[bytes, bytes]

_PATIENT_AND_STUDY: Final = {
    b"00080020": b"DA",  # StudyDate
    b"00080030": b"TM",  # StudyTime
    b"00080050": b"SH",  # AccessionNumber
    b"00080090": b"PN",  # ReferringPhysicianName
    b"00100010": b"PN",  # PatientName
    b"00100020": b"LO",  # PatientID
    b"00100030": b"DA",  # PatientBirthDate
    b"00100040": b"CS",  # PatientSex
    b"00200010": b"SH",  # StudyID
}
_SERIES: Final = {
    b"00080060": b"CS",  # Modality
    b"0008103E": b"LO",  # SeriesDescription
    b"00200011": b"IS",  # SeriesNumber
    b"00400244": b"DA",  # PerformedProcedureStepStartDate
    b"00400245": b"TM",  # PerformedProcedureStepStartTime
    b"00400275": b"SQ",  # RequestAttributesSequence
}
_INSTANCE: Final = {
    b"00200013": b"IS",  # InstanceNumber
}

STUDY_TOTALS: Final = frozenset({b"00080061", b"00201206", b"00201208"})
"""ModalitiesInStudy, NumberOfStudyRelatedSeries, NumberOfStudyRelatedInstances."""

NEVER_STORED: Final = STUDY_TOTALS | {
    b"00080005",  # SpecificCharacterSet: JSON is UTF-8
    b"00080054",  # RetrieveAETitle
    b"00080056",  # InstanceAvailability
    b"00081190",  # RetrieveURL
    b"00083002",  # AvailableTransferSyntaxUID
    b"00201200",  # NumberOfPatientRelatedStudies
    b"00201202",  # NumberOfPatientRelatedSeries
    b"00201204",  # NumberOfPatientRelatedInstances
    b"00201209",  # NumberOfSeriesRelatedInstances
}
"""What the catalog computes or does not tell, whatever a file says."""

ONLINE: Final = b'"00080056":{"vr":"CS","Value":["ONLINE"]}'
_CREATORS: Final = range(0x10, 0x100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which attributes the objects of a search have, and from where.

    `of_study` and `of_series`: the required attributes of that level are told (parent levels of a relational search
    too, PS3.18 10.6.3.3). `wanted` are further tags; with `everything`, all that is stored at the told levels.
    """

    level: Level
    of_study: bool
    of_series: bool
    wanted: frozenset[bytes]
    everything: bool

    @property
    def totals(self) -> bool:
        """Whether anything counted over a study is told."""
        return self.of_study or bool(self.wanted & STUDY_TOTALS)

    @property
    def study_fragment(self) -> bool:
        """Whether the stored lines of the study are needed; an instance's own lines are told apart by them."""
        return self.of_study or bool(self.wanted) or self.instance_fragment

    @property
    def series_fragment(self) -> bool:
        """Whether the stored lines of the series are needed."""
        return self.level is not Level.STUDY and (self.of_series or bool(self.wanted))

    @property
    def instance_fragment(self) -> bool:
        """Whether the stored lines of the instance are needed."""
        return self.level is Level.INSTANCE and (self.everything or bool(self.wanted))


def layout_of(query: Query) -> Layout:
    """The layout of the answer: keys that were matched are returned, as are those asked for (PS3.18 10.6.3.3)."""
    tags = {match.path[0] for match in query.match} | set(query.include)
    all_studies, all_series = query.study_instance_uid is None, query.series_instance_uid is None
    return _layout(query.level, all_studies, all_series, frozenset(tags), query.include_all)


@lru_cache(FORMS)
def _layout(level: Level, all_studies: bool, all_series: bool, tags: frozenset[str], everything: bool) -> Layout:  # noqa: FBT001
    wanted = {tag.encode() for tag in tags} | {_creator(tag) for tag in tags}
    return Layout(
        level=level,
        of_study=level is Level.STUDY or all_studies,
        of_series=level is Level.SERIES or (level is Level.INSTANCE and all_series),
        wanted=frozenset(wanted),
        everything=everything,
    )


def _creator(tag: str) -> bytes:
    """The element that names the creator of a private one, or the tag itself (PS3.5 7.8.1)."""
    group, element = int(tag[:4], 16), int(tag[4:], 16)
    if group % 2 and element >> 8 in _CREATORS:
        return b"%04X%04X" % (group, element >> 8)
    return tag.encode()


Teller = Callable[[Any], bytes]
"""From a row of the search's statement to its DICOM JSON object."""


@lru_cache(FORMS)
def teller(layout: Layout) -> Teller:
    """How rows of this layout are told."""
    defaults = _defaults(layout)
    keeps = _keeps(layout, frozenset(defaults))

    def tell(row: Any) -> bytes:
        lines = defaults.copy()
        for line in _stored(layout, row):
            tag = line[TAG]
            if keeps(tag) and BASE_MARK not in line:
                lines[tag] = line
        lines.update(_computed(layout, row, lines))
        return b"{" + b",\n".join(sorted(lines.values())) + b"}"

    return tell


def _defaults(layout: Layout) -> Lines:
    """The required attributes as they stand without a value: present and empty (PS3.18 F.2.5)."""
    required = {**(_PATIENT_AND_STUDY if layout.of_study else {}), **(_SERIES if layout.of_series else {})}
    if layout.level is Level.INSTANCE:
        required = {**required, **_INSTANCE}
    return {tag: b'"%b":{"vr":"%b"}' % (tag, vr) for tag, vr in required.items()}


def _keeps(layout: Layout, required: frozenset[bytes]) -> Callable[[bytes], bool]:
    """Whether a stored attribute is told."""
    kept = (required | layout.wanted) - NEVER_STORED
    if not layout.everything:
        return kept.__contains__
    left_out = NEVER_STORED if layout.of_study else NEVER_STORED | (STUDY_TAGS - kept)
    return lambda tag: tag not in left_out


def _stored(layout: Layout, row: Any) -> Iterable[bytes]:
    if layout.instance_fragment:
        return merge(row.study_fragment, row.instance_fragment)
    lines: list[bytes] = row.study_fragment.split(b"\n") if layout.study_fragment else []
    if layout.series_fragment:
        lines += row.series_fragment.split(b"\n")
    return lines


def _computed(layout: Layout, row: Any, stored: Lines) -> Lines:
    """What no file can say, or says less surely than the catalog."""
    lines = {b"0020000D": _line(b"0020000D", b"UI", row.study_instance_uid)}
    if row.timezone_offset is not None:
        lines[b"00080201"] = _line(b"00080201", b"SH", row.timezone_offset)
    if layout.of_study or layout.level is Level.INSTANCE or b"00080056" in layout.wanted:
        lines[b"00080056"] = ONLINE
    if (layout.everything and layout.of_study) or b"00100021" in layout.wanted:
        lines.update(_issuer(row, stored))
    if layout.totals:
        lines.update(_totals(layout, row))
    if layout.level is not Level.STUDY:
        lines.update(_of_series(layout, row))
    if layout.level is Level.INSTANCE:
        lines.update(_of_instance(row))
    return lines


def _issuer(row: Any, stored: Lines) -> Lines:
    """IssuerOfPatientID, also where the file leaves it to the site: PatientID alone does not name a patient."""
    tag = b"00100021"
    return {tag: _line(tag, b"LO", row.issuer)} if tag not in stored and row.issuer is not None else {}


def _totals(layout: Layout, row: Any) -> Lines:
    lines = {
        b"00201206": _line(b"00201206", b"IS", row.series_count),
        b"00201208": _line(b"00201208", b"IS", int(row.instances)),
    }
    modalities = _modalities(row.modalities)
    if modalities is not None:
        lines[b"00080061"] = modalities
    return lines if layout.of_study else {tag: line for tag, line in lines.items() if tag in layout.wanted}


@lru_cache(4096)
def _modalities(array: str | None) -> bytes | None:
    """ModalitiesInStudy, sorted; left out where no visible series has one, since viewers fail on an empty one."""
    found = sorted(orjson.loads(array or "[]"))
    return b'"00080061":{"vr":"CS","Value":%b}' % orjson.dumps(found) if found else None


def _of_series(layout: Layout, row: Any) -> Lines:
    lines = {b"0020000E": _line(b"0020000E", b"UI", row.series_instance_uid)}
    if layout.of_series or b"00201209" in layout.wanted:
        lines[b"00201209"] = _line(b"00201209", b"IS", row.instance_count)
    return lines


def _of_instance(row: Any) -> Lines:
    values = {
        (b"00080016", b"UI"): row.sop_class_uid,
        (b"00080018", b"UI"): row.sop_instance_uid,
        (b"00083002", b"UI"): row.transfer_syntax_uid,
        (b"00200013", b"IS"): row.instance_number,
        (b"00280008", b"IS"): row.number_of_frames,
        (b"00280010", b"US"): row.rows,
        (b"00280011", b"US"): row.columns,
        (b"00280100", b"US"): row.bits_allocated,
    }
    return {tag: _line(tag, vr, value) for (tag, vr), value in values.items() if value is not None}


def _line(tag: bytes, vr: bytes, value: str | int) -> bytes:
    return b'"%b":{"vr":"%b","Value":[%b]}' % (tag, vr, orjson.dumps(value))
