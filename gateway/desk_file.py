"""What the desk lays open of one patient: who it is, what is held, what was allowed, who could be allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from consent.model import Consent
from consent.parties import Facility, FacilityState
from storage.model import Found, Instant
from storage.patients import KnownPatient

STUDY_DATE, MODALITIES_IN_STUDY, STUDY_DESCRIPTION = "00080020", "00080061", "00081030"
PATIENT_NAME, PATIENT_ID, PATIENT_BIRTH_DATE = "00100010", "00100020", "00100030"
ISSUER_OF_PATIENT_ID: Final = "00100021"
STUDY_INSTANCE_UID, STUDY_SERIES, STUDY_INSTANCES = "0020000D", "00201206", "00201208"
SHOWN: Final = (STUDY_DESCRIPTION,)  # beyond what every search returns


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStudy:
    """One study that is here. Names and dates as the images say them, `patient_name` as decoded PN."""

    study_instance_uid: str
    study_date: str
    modalities: tuple[str, ...]
    study_description: str
    patient_name: str
    patient_birth_date: str
    series: int
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFile:
    """One patient's file as it was at that instant. `more` says that more studies are held than are listed."""

    at: Instant
    patient: KnownPatient
    studies: Sequence[HeldStudy]
    more: bool
    consents: Sequence[Consent]
    facilities: Sequence[Facility]

    @property
    def names(self) -> Sequence[str]:
        """The patient's names, as the images say them, the newest study's first."""
        return _once(study.patient_name for study in self.studies)

    @property
    def birth_dates(self) -> Sequence[str]:
        """The patient's birth dates, as the images say them; more than one is a reason to look closely."""
        return _once(study.patient_birth_date for study in self.studies)

    @property
    def admissible(self) -> Sequence[Facility]:
        """The facilities that a consent can be given to here: outside ones that are active."""
        return [facility for facility in self.facilities if is_admissible(facility)]


def is_admissible(facility: Facility) -> bool:
    """Whether this is an outside facility that may receive."""
    return facility.state is FacilityState.ACTIVE and not facility.affiliated


def held_studies(found: Found) -> list[HeldStudy]:
    """The studies of a search answer, the newest first, those without a date last."""
    studies = [_held_study(orjson.loads(found_object)) for found_object in found.objects]
    return sorted(studies, key=lambda study: study.study_date, reverse=True)


def identities(found: Found) -> list[tuple[str, str]]:
    """The patients of a search answer that was asked for the issuer too, as PatientID and issuer, each once."""
    told = [orjson.loads(found_object) for found_object in found.objects]
    pairs = [(_text(attributes, PATIENT_ID), _text(attributes, ISSUER_OF_PATIENT_ID)) for attributes in told]
    return list(dict.fromkeys(pairs))


def _held_study(attributes: dict[str, Any]) -> HeldStudy:
    return HeldStudy(
        study_instance_uid=_text(attributes, STUDY_INSTANCE_UID),
        study_date=_text(attributes, STUDY_DATE),
        modalities=tuple(str(value) for value in _values(attributes, MODALITIES_IN_STUDY) if value),
        study_description=_text(attributes, STUDY_DESCRIPTION),
        patient_name=_name(attributes),
        patient_birth_date=_text(attributes, PATIENT_BIRTH_DATE),
        series=int(_text(attributes, STUDY_SERIES) or 0),
        instances=int(_text(attributes, STUDY_INSTANCES) or 0),
    )


def _name(attributes: dict[str, Any]) -> str:
    """The component groups of a person name (PS3.18 F.2.2), as PN text (PS3.5 6.2.1)."""
    groups = next(iter(_values(attributes, PATIENT_NAME)), None) or {}
    text = "=".join(str(groups.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic"))
    return text.rstrip("=")


def _text(attributes: dict[str, Any], tag: str) -> str:
    value = next(iter(_values(attributes, tag)), None)
    return "" if value is None else str(value)


def _values(attributes: dict[str, Any], tag: str) -> list[Any]:
    values = attributes.get(tag, {}).get("Value", [])
    return values if isinstance(values, list) else []


def _once(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
