"""Whose images these are: after a merge, a split or a move nothing opens until staff have confirmed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from consent.errors import IncompleteConsent, NotInThatState, UnknownPatient
from consent.model import Provenance
from consent.record import Record, identity_changed
from storage import epoch, patients
from storage.tables import patient

KNOWN: Final = "known"
SUSPENDED: Final = "suspended"
_WHO: Final = select(patient.c.patient_id, patient.c.issuer).where(patient.c.id == bindparam("key"))
_MOVE: Final = (
    update(patient)
    .where(patient.c.id == bindparam("key"), patient.c.state == bindparam("was"))
    .values(state=bindparam("becomes"))
)


def suspend_identities(
    tx: Connection, log: Record, keys: Sequence[int], provenance: Provenance, *, reason: str
) -> None:
    """Open nothing of these patients, by key, until staff confirm who each is. Raises UnknownPatient."""
    if not reason.strip():
        raise IncompleteConsent("the reason")
    epoch.bump(tx)
    for key in sorted(set(keys)):
        who = _subject(tx, key)
        if _moved(tx, key, KNOWN, SUSPENDED):
            log.append(tx, identity_changed("identity-suspended", who, provenance, reason))


def confirm_identity(tx: Connection, log: Record, key: int, provenance: Provenance, *, reason: str) -> None:
    """Staff say that they know who this patient is; their consents count again.

    Raises
    ------
    UnknownPatient : there is no patient of this key
    NotInThatState : the identity is not in doubt
    """
    if not reason.strip():
        raise IncompleteConsent("the reason")
    who = _subject(tx, key)
    if not _moved(tx, key, SUSPENDED, KNOWN):
        raise NotInThatState("This patient's identity is not in doubt.")
    log.append(tx, identity_changed("identity-confirmed", who, provenance, reason))


def _moved(tx: Connection, key: int, was: str, becomes: str) -> bool:
    return tx.execute(_MOVE, {"key": key, "was": was, "becomes": becomes}).rowcount == 1


def _subject(tx: Connection, key: int) -> str:
    row = tx.execute(_WHO, {"key": key}).one_or_none()
    if row is None:
        raise UnknownPatient
    return patients.identifier(row.patient_id, row.issuer)
