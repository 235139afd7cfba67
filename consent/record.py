"""What the log is told about consent: one event for each change, in the transaction of the change (law 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Connection

from consent.model import ANY, Consent, Provenance
from storage import patients
from storage.log.event import AuditEvent, Kind, Plain


class Record(Protocol):
    """The log, as the register needs it: an event written in the caller's transaction, or an exception."""

    def append(self, tx: Connection, event: AuditEvent) -> object:
        """Write `event` in `tx`."""


def consent_changed(change: str, consent: Consent, provenance: Provenance) -> AuditEvent:
    """A new version of a consent. Patient, people, studies and free text are sealed; who may receive is plain."""
    subject = patients.identifier(consent.patient_id, consent.issuer)
    return AuditEvent(
        kind=Kind.CONSENT,
        at=provenance.at,
        request=provenance.request,
        plain={
            "change": change,
            "consent_id": consent.consent_id,
            "version": consent.version,
            "state": consent.state.value,
            "basis": consent.basis.value,
            "effect": consent.effect.value,
            "facilities": [ANY] if consent.any_facility else list(consent.facilities),
            "purposes": [ANY] if consent.any_purpose else [purpose.value for purpose in consent.purposes],
            "actions": int(consent.actions),
            "effective_from": consent.effective_from,
            "effective_until": consent.effective_until,
            "supersedes": consent.supersedes,
        },
        sealed={
            "patient": subject,
            "person": provenance.by,
            "signed_by": consent.signed_by,
            "signer_role": consent.signer_role,
            "signed_at": consent.signed_at,
            "form": consent.form_digest,
            "studies": list(consent.scope.studies),
            "modalities": list(consent.scope.modalities),
            "study_from": consent.scope.study_from,
            "study_to": consent.scope.study_to,
            "sensitivity": None if consent.scope.sensitivity is None else int(consent.scope.sensitivity),
            "reason": consent.reason,
        },
        subjects=[
            ("consent", consent.consent_id),
            ("patient", subject),
            ("person", provenance.by),
            *(("facility", client_id) for client_id in consent.facilities),
            *(("study", uid) for uid in consent.scope.studies),
        ],
    )


def identity_changed(change: str, subject: str, provenance: Provenance, reason: str) -> AuditEvent:
    """Whose images these are has come into doubt, or is certain again."""
    return AuditEvent(
        kind=Kind.CONSENT,
        at=provenance.at,
        request=provenance.request,
        plain={"change": change},
        sealed={"patient": subject, "person": provenance.by, "reason": reason},
        subjects=[("patient", subject), ("person", provenance.by)],
    )


def facility_changed(change: str, client_id: str, facts: Mapping[str, Plain], provenance: Provenance) -> AuditEvent:
    """A facility was registered or changed; its reasons, which may name people, are sealed."""
    facts = dict(facts)
    reason = facts.pop("reason", None)
    return AuditEvent(
        kind=Kind.FACILITY,
        at=provenance.at,
        request=provenance.request,
        plain={"change": change, "facility": client_id, **facts},
        sealed={"person": provenance.by, "reason": reason},
        subjects=[("facility", client_id), ("person", provenance.by)],
    )
