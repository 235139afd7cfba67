"""Patients as the catalog knows them: an identifier and who assigned it.

The same PatientID from another issuer is another patient.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select

from storage.tables import patient

_FIND = select(patient.c.id).where(
    patient.c.issuer == bindparam("by_issuer"), patient.c.patient_id == bindparam("by_patient_id")
)
_GET = select(patient).where(patient.c.id == bindparam("by_key"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPatient:
    """One patient: their key here, and what they are called. `in_doubt` after an identity change nobody confirmed."""

    key: int
    patient_id: str
    issuer: str
    in_doubt: bool


def find(tx: Connection, patient_id: str, issuer: str) -> int | None:
    """The key of this patient, or None when nothing is known of them."""
    found: int | None = tx.execute(_FIND, {"by_issuer": issuer, "by_patient_id": patient_id}).scalar()
    return found


def get(tx: Connection, key: int) -> KnownPatient | None:
    """The patient of this key, or None."""
    row = tx.execute(_GET, {"by_key": key}).one_or_none()
    if row is None:
        return None
    return KnownPatient(key=row.id, patient_id=row.patient_id, issuer=row.issuer, in_doubt=row.state != "known")


def find_or_add(tx: Connection, patient_id: str, issuer: str) -> int:
    """The key of this patient, made now if need be: a consent may come before the first image.

    Raises
    ------
    ValueError : the identifier is empty, which names nobody
    """
    if not patient_id.strip():
        raise ValueError("a patient needs an identifier")
    found = find(tx, patient_id, issuer)
    if found is not None:
        return found
    dialect = tx.dialect.name
    row = {"issuer": issuer, "patient_id": patient_id, "state": "known"}
    if dialect == "postgresql":
        # two nodes may meet a new patient in the same moment
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql  # noqa: PLC0415

        tx.execute(insert_postgresql(patient).values(row).on_conflict_do_nothing())
    else:
        tx.execute(insert(patient).values(row))
    return int(tx.execute(_FIND, {"by_issuer": issuer, "by_patient_id": patient_id}).scalar_one())


def identifier(patient_id: str, issuer: str) -> str:
    """One text that names this patient, for the subjects of audit events: HL7's CX, `PatientID^^^issuer`."""
    return f"{patient_id}^^^{issuer}"
