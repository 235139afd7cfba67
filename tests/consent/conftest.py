"""The real log, and a few studies of made-up patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from consent.model import Action, Basis, Draft, Provenance, Purpose, Requester
from consent.tables import facility
from storage import patients
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.sealing import KeyRing
from storage.tables import series, study

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
CITIZEN = ("MADE-UP-1", "NORTH")
NEIGHBOUR = ("MADE-UP-1", "SOUTH")


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    (tmp_path / "held").mkdir()
    return KeyRing(tmp_path / "keys", data_dir=tmp_path / "held")


@pytest.fixture
def log(database: Database, keys: KeyRing, tmp_path: Path) -> AuditLog:
    return AuditLog(database, keys, tmp_path / "held", node="n1", process="p1", clock=lambda: NOW)


def by(name: str = "staff@hospital.example", at: int = NOW) -> Provenance:
    return Provenance(by=name, at=at, request="r1")


def draft(**said: object) -> Draft:
    """A permit on policy for one facility to treat, unless said otherwise."""
    usual = Draft(
        patient_id=CITIZEN[0],
        issuer=CITIZEN[1],
        basis=Basis.POLICY,
        facilities=("fac-a",),
        purposes=(Purpose.TREAT,),
    )
    return replace(usual, **said)


def requester(client_id: str = "fac-a", **said: object) -> Requester:
    usual = Requester(
        facility=client_id,
        facility_name="Facility",
        affiliated=False,
        purpose=Purpose.TREAT,
        proven="test",
        credential="none",
        expires_at=NOW + DAY,
        scopes=frozenset({"system/ImagingStudy.rs"}),
    )
    return replace(usual, **said)


def furnish(tx: Connection) -> dict[str, int]:
    """Two patients of one number and different issuers, each with a study of a CT and an MR series; two facilities."""
    for client_id, affiliated in (("fac-a", False), ("fac-b", False), ("fac-c", True)):
        row = {"client_id": client_id, "name": client_id, "affiliated": affiliated, "state": "active"}
        tx.execute(
            insert(facility),
            {**row, "purposes": "TREAT,HPAYMT", "scopes": "x", "registered_at": NOW, "changed_at": NOW},
        )
    made: dict[str, int] = {}
    for number, (patient_id, issuer) in enumerate((CITIZEN, NEIGHBOUR), 1):
        key = patients.find_or_add(tx, patient_id, issuer)
        made[f"patient-{number}"] = key
        add_study(tx, number, key, patient_id, issuer)
        for place, modality in enumerate(("CT", "MR"), 1):
            row = {"id": number * 10 + place, "study": number, "series_instance_uid": f"2.25.{number}.{place}"}
            tx.execute(insert(series), {**row, "modality": modality, "fragment": b"", "changed_at": NOW})
            made[f"{modality}-{number}"] = number * 10 + place
    return made


def add_study(tx: Connection, number: int, patient: int, patient_id: str, issuer: str) -> None:
    row = {"id": number, "study_instance_uid": f"2.25.{number}", "patient": patient, "patient_id": patient_id}
    held = {"received_at": NOW, "available_since": NOW, "guaranteed_until": NOW, "state": "online"}
    tx.execute(insert(study), {**row, **held, "issuer": issuer, "study_date": "20250102", "fragment": b""})


BOTH = Action.SEARCH | Action.RETRIEVE
