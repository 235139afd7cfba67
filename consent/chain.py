"""The version chain of each consent, and the grants that its active version is flattened into.

Versions are only ever added. Grants are closed by the moment of their end and kept: they are evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, exists, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from consent.document import from_document, to_document
from consent.errors import ChangedMeanwhile, UnknownConsent
from consent.model import ANY, Consent, Effect
from consent.tables import consent, consent_grant
from storage import patients
from storage.model import Instant

_newer = consent.alias("newer")
_IS_LATEST: Final = ~exists().where(
    _newer.c.consent_id == consent.c.consent_id, _newer.c.version > consent.c.version
).correlate(consent)
_VERSIONS: Final = (
    select(consent.c.body).where(consent.c.consent_id == bindparam("of_consent")).order_by(consent.c.version)
)
_HEAD: Final = (
    select(consent.c.body)
    .where(consent.c.consent_id == bindparam("of_consent"))
    .order_by(consent.c.version.desc())
    .limit(1)
)
_OF_PATIENT: Final = (
    select(consent.c.body)
    .where(consent.c.patient == bindparam("of_patient"), _IS_LATEST)
    .order_by(consent.c.recorded_at.desc(), consent.c.consent_id)
)
_RECENT: Final = (
    select(consent.c.body)
    .where(_IS_LATEST)
    .order_by(consent.c.recorded_at.desc(), consent.c.consent_id)
    .limit(bindparam("most"))
    .offset(bindparam("skipped"))
)
_CLOSE: Final = (
    update(consent_grant)
    .where(consent_grant.c.consent_id == bindparam("of_consent"), consent_grant.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("closed_at"))
)


def head(tx: Connection, consent_id: str) -> Consent:
    """The latest version. Raises UnknownConsent."""
    body = tx.execute(_HEAD, {"of_consent": consent_id}).scalar()
    if body is None:
        raise UnknownConsent
    return _read(body)


def versions(tx: Connection, consent_id: str) -> Sequence[Consent]:
    """Every version, the first one first. Raises UnknownConsent."""
    found = _consents(tx, _VERSIONS, of_consent=consent_id)
    if not found:
        raise UnknownConsent
    return found


def of_patient(tx: Connection, patient: int) -> Sequence[Consent]:
    """The latest version of each consent of a patient, by key, the most recently changed first."""
    return _consents(tx, _OF_PATIENT, of_patient=patient)


def recent(tx: Connection, limit: int, offset: int) -> Sequence[Consent]:
    """The latest version of each consent, the most recently changed first."""
    return _consents(tx, _RECENT, most=limit, skipped=offset)


def append(tx: Connection, version: Consent) -> None:
    """Add a version to its chain.

    Raises
    ------
    ChangedMeanwhile : somebody else added this version first; the transaction cannot be used any more
    """
    row = {
        "consent_id": version.consent_id,
        "version": version.version,
        "patient": patients.find_or_add(tx, version.patient_id, version.issuer),
        "state": version.state.value,
        "body": json.dumps(to_document(version), sort_keys=True),
        "recorded_at": version.recorded_at,
    }
    try:
        tx.execute(insert(consent), row)
    except IntegrityError as error:
        raise ChangedMeanwhile from error


def open_grants(tx: Connection, version: Consent) -> None:
    """Let an active version count: flatten it into grants."""
    patient = patients.find_or_add(tx, version.patient_id, version.issuer)
    tx.execute(insert(consent_grant), [{**row, "patient": patient} for row in flattened(version)])


def close_grants(tx: Connection, consent_id: str, at: Instant) -> None:
    """Stop a consent from counting, now."""
    tx.execute(_CLOSE, {"of_consent": consent_id, "closed_at": at})


def flattened(version: Consent) -> Iterator[dict[str, Any]]:
    """One row for every facility with every purpose, study and modality, without the patient's key.

    A permit begins no earlier than it was recorded, so that the rows tell what could be seen at any moment.
    """
    permit = version.effect is Effect.PERMIT
    scope = version.scope
    begins = max(version.effective_from, version.recorded_at) if permit else version.effective_from
    labels = int(scope.sensitivity or 0)
    facilities = (ANY,) if version.any_facility else version.facilities
    purposes = (ANY,) if version.any_purpose else tuple(purpose.value for purpose in version.purposes)
    for facility, purpose, study, modality in product(
        facilities, purposes, scope.studies or (None,), scope.modalities or (None,)
    ):
        yield {
            "consent_id": version.consent_id,
            "version": version.version,
            "effect": version.effect.value,
            "facility": facility,
            "purpose": purpose,
            "actions": int(version.actions),
            "study_instance_uid": study,
            "modality": modality,
            "study_from": scope.study_from,
            "study_to": scope.study_to,
            "sensitivity": labels if permit else labels or None,
            "valid_from": begins,
            "valid_until": version.effective_until,
            "revoked_at": None,
        }


def _consents(tx: Connection, statement: Select[str], **asked: object) -> list[Consent]:
    return [_read_row(row) for row in tx.execute(statement, asked)]


def _read_row(row: Row[str]) -> Consent:
    return _read(row.body)


def _read(body: str) -> Consent:
    return from_document(json.loads(body))
