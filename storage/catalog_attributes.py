"""The attributes that a search can match (PS3.18 10.6.1.2): the level, the column and the kind of matching of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from storage.matching import (
    Matching,
    choice_matching,
    date_matching,
    name_matching,
    number_matching,
    text_matching,
    time_matching,
    uid_matching,
)
from storage.model import Level

Path = tuple[str, ...]
"""Upper-case tags from the data set down: sequences first, the attribute last."""

MODALITIES_IN_STUDY: Final = ("00080061",)
REQUEST_ATTRIBUTES_SEQUENCE: Final = "00400275"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute that can be matched: its keyword (PS3.6), level, `table.column`, and how a key for it is read.

    `selective`: few studies share a value, so that a search by it starts there.
    """

    keyword: str
    level: Level
    column: str
    read: Callable[[str], Matching]
    selective: bool = False


def _study(
    keyword: str, column: str, read: Callable[[str], Matching] = text_matching, *, selective: bool = False
) -> Attribute:
    return Attribute(keyword=keyword, level=Level.STUDY, column=f"study.{column}", read=read, selective=selective)


def _series(
    keyword: str, column: str, read: Callable[[str], Matching] = text_matching, *, selective: bool = False
) -> Attribute:
    return Attribute(keyword=keyword, level=Level.SERIES, column=column, read=read, selective=selective)


def _instance(keyword: str, column: str, read: Callable[[str], Matching], *, selective: bool = False) -> Attribute:
    return Attribute(keyword=keyword, level=Level.INSTANCE, column=f"instance.{column}", read=read, selective=selective)


ATTRIBUTES: Final[dict[Path, Attribute]] = {
    ("00080020",): _study("StudyDate", "study_date", date_matching),
    ("00080030",): _study("StudyTime", "study_time", time_matching),
    ("00080050",): _study("AccessionNumber", "accession_number", selective=True),
    ("00080090",): _study("ReferringPhysicianName", "referring_physician_name_key", name_matching),
    ("00081030",): _study("StudyDescription", "study_description"),
    ("00100010",): _study("PatientName", "patient_name_key", name_matching),
    ("00100020",): _study("PatientID", "patient_id", selective=True),
    ("00100021",): _study("IssuerOfPatientID", "issuer"),
    ("00100030",): _study("PatientBirthDate", "patient_birth_date", date_matching),
    ("00100040",): _study("PatientSex", "patient_sex"),
    ("0020000D",): _study("StudyInstanceUID", "study_instance_uid", uid_matching, selective=True),
    ("00200010",): _study("StudyID", "study_id"),
    # of the series of a study, those that the requester may see
    MODALITIES_IN_STUDY: Attribute(
        keyword="ModalitiesInStudy", level=Level.STUDY, column="series.modality", read=choice_matching
    ),
    ("00080060",): _series("Modality", "series.modality", choice_matching),
    ("0008103E",): _series("SeriesDescription", "series.series_description"),
    ("0020000E",): _series("SeriesInstanceUID", "series.series_instance_uid", uid_matching, selective=True),
    ("00200011",): _series("SeriesNumber", "series.series_number", number_matching),
    ("00400244",): _series(
        "PerformedProcedureStepStartDate", "series.performed_procedure_step_start_date", date_matching
    ),
    ("00400245",): _series(
        "PerformedProcedureStepStartTime", "series.performed_procedure_step_start_time", time_matching
    ),
    (REQUEST_ATTRIBUTES_SEQUENCE, "00400009"): _series(
        "ScheduledProcedureStepID", "request_attribute.scheduled_procedure_step_id", selective=True
    ),
    (REQUEST_ATTRIBUTES_SEQUENCE, "00401001"): _series(
        "RequestedProcedureID", "request_attribute.requested_procedure_id", selective=True
    ),
    ("00080016",): _instance("SOPClassUID", "sop_class_uid", uid_matching),
    ("00080018",): _instance("SOPInstanceUID", "sop_instance_uid", uid_matching, selective=True),
    ("00200013",): _instance("InstanceNumber", "instance_number", number_matching),
}
