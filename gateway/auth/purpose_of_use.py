"""What a facility's assertion says about its request: for which purpose, and for whom.

Read from the UDAP B2B extension `hl7-b2b` and from the IHE IUA extension `ihe_iua` (ITI-71). IUA's `person_id` is the
patient's identifier, not the asking person's: who asks is `national_provider_identifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consent.model import Purpose
from consent.parties import Facility
from gateway.auth.compact_jws import Unreadable, text
from gateway.auth.errors import InvalidGrant, InvalidRequest

# HL7 v3 ActReason, the code system of PurposeOfUse, as it is written in FHIR, in UDAP and in XUA
CODE_SYSTEMS: Final = frozenset(
    {
        "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "urn:oid:2.16.840.1.113883.5.8",
        "2.16.840.1.113883.5.8",
    }
)
EMERGENCY: Final = frozenset({Purpose.ETREAT, Purpose.BTG})
CODES_LIMIT: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an assertion says: the purposes it names, and who asks; empty where it says nothing."""

    purposes: frozenset[str] = frozenset()
    person: str = ""
    person_name: str = ""
    person_role: str = ""
    organization: str = ""


NOTHING_SAID: Final = Statement()


def read_statement(claims: Mapping[str, object]) -> Statement:
    """What the extensions of an assertion say.

    Raises
    ------
    InvalidRequest : an extension does not have the form that its guide gives it
    """
    try:
        extensions = _member(claims, "extensions")
        b2b, iua = _member(extensions, "hl7-b2b"), _member(extensions, "ihe_iua")
        if b2b and b2b.get("version", "1") != "1":
            raise InvalidRequest("Version 1 of the hl7-b2b extension is understood.")
        return Statement(
            purposes=_codes(b2b) | _codes(iua),
            person=text(b2b, "subject_id") or text(iua, "national_provider_identifier") or "",
            person_name=text(b2b, "subject_name") or text(iua, "subject_name") or "",
            person_role=text(b2b, "subject_role") or "",
            organization=text(b2b, "organization_id") or text(iua, "subject_organization_id") or "",
        )
    except Unreadable as error:
        raise InvalidRequest("The extensions of the assertion do not have the form that their guides give.") from error


def allowed_purpose(statement: Statement, facility: Facility) -> Purpose:
    """The one purpose that the token stands for: the one stated, else the facility's default.

    Raises
    ------
    InvalidGrant : several purposes, an unknown one, one that is not open to the facility, or emergency access
    """
    if len(statement.purposes) > 1:
        raise InvalidGrant("A token stands for one purpose of use; ask for a token for each.")
    code = next(iter(statement.purposes), None)
    purpose = facility.purposes[0] if code is None else Purpose.__members__.get(code)
    if purpose is None or purpose not in facility.purposes:
        raise InvalidGrant("The purpose of use is not open to this client.")
    if purpose in EMERGENCY:
        raise InvalidGrant("Emergency access is not enabled for this client.")
    return purpose


def _member(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise InvalidRequest("The extensions of the assertion are not objects.")
    return found


def _codes(extension: Mapping[str, object]) -> frozenset[str]:
    if "purpose_of_use" not in extension:
        return frozenset()
    found = extension["purpose_of_use"]
    values = found if isinstance(found, list) else [found]
    if not 0 < len(values) <= CODES_LIMIT:
        raise InvalidRequest("purpose_of_use names no purpose, or far too many.")
    return frozenset(_code(value) for value in values)


def _code(value: object) -> str:
    """The code of `system#code`, of `code` alone, or of a FHIR Coding; one of another system stays as it is."""
    if isinstance(value, dict):
        system, code = text(value, "system") or "", text(value, "code") or ""
    else:
        system, _, code = (text({"purpose": value}, "purpose") or "").rpartition("#")
    if not code:
        raise InvalidRequest("A purpose of use has no code.")
    return code if not system or system in CODE_SYSTEMS else f"{system}#{code}"
