"""The desk's work as audit events: who looked whom up, whose file was laid open, and what was refused.

The patient, the person and what was typed are sealed; scopes, counts and outcomes are plain.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent.model import Decision
from gateway.call import Call
from gateway.desk_file import PatientFile
from storage.log.event import AuditEvent, Kind, Plain
from storage.model import Instant
from storage.patients import KnownPatient, identifier


def sought(call: Call, at: Instant, asked: Sequence[str], found: Sequence[KnownPatient]) -> AuditEvent:
    """Somebody looked a patient up; that there is such a patient is disclosed already."""
    patients = [identifier(patient.patient_id, patient.issuer) for patient in found]
    return AuditEvent(
        kind=Kind.DESK_VIEW,
        at=at,
        request=call.request,
        plain={**_who(call), "what": "find", "found": len(found)},
        sealed={"person": call.requester.person, "asked": list(asked), "patients": patients},
        subjects=[("person", call.requester.person), *(("patient", patient) for patient in patients)],
    )


def viewed(call: Call, decision: Decision, file: PatientFile) -> AuditEvent:
    """A patient's file is laid open: to be durable before it is shown (law 6)."""
    patient = identifier(file.patient.patient_id, file.patient.issuer)
    studies = [study.study_instance_uid for study in file.studies]
    return AuditEvent(
        kind=Kind.DESK_VIEW,
        at=decision.at,
        request=call.request,
        plain={**_who(call), "what": "file", "studies": len(studies), "consents": len(file.consents)},
        sealed={"person": call.requester.person, "patient": patient, "studies": studies},
        subjects=[
            ("person", call.requester.person),
            ("patient", patient),
            *(("study", uid) for uid in studies),
        ],
    )


def refused(call: Call, at: Instant, what: str, why: str) -> AuditEvent:
    """Somebody at the desk wanted what is not theirs, or is not there."""
    return AuditEvent(
        kind=Kind.REFUSED,
        at=at,
        request=call.request,
        plain={**_who(call), "what": what, "why": why},
        sealed={"person": call.requester.person},
        subjects=[("person", call.requester.person)],
    )


def _who(call: Call) -> dict[str, Plain]:
    requester = call.requester
    return {
        "facility": requester.facility,
        "scopes": sorted(requester.scopes),
        "proven": requester.proven,
        "credential": requester.credential,
    }
