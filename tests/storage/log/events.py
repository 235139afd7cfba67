"""Made-up events of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from storage.log.event import AuditEvent, Kind, Plain

NOW = 1_790_000_000_000_000
KINDS = [kind for kind in Kind if kind is not Kind.ERASED]


def event(kind: Kind, at: int, request: str, rng: random.Random) -> AuditEvent:
    """An event of a kind with the facts that such events have."""
    patient = f"HOSPITAL|MRN-{rng.randrange(400)}"
    study = f"1.2.826.0.1.3680043.8.498.{rng.randrange(900)}"
    facility = f"facility-{rng.randrange(12)}"
    return AuditEvent(
        kind=kind,
        at=NOW + at,
        request=request,
        plain=_plain(kind, facility, rng),
        sealed=_sealed(kind, patient, study, rng),
        subjects=_subjects(kind, patient, study, facility),
    )


def events(count: int, seed: int = 7) -> Iterator[AuditEvent]:
    """Events of all kinds in turn, many times over."""
    rng = random.Random(seed)
    return (event(KINDS[at % len(KINDS)], at, f"request-{seed}-{at}", rng) for at in range(count))


def _plain(kind: Kind, facility: str, rng: random.Random) -> Mapping[str, Plain]:
    if kind in {Kind.HEARTBEAT, Kind.STARTED, Kind.STOPPED}:
        return {}
    return {
        "client": facility,
        "purpose": rng.choice(["TREAT", "ETREAT", "HPAYMT"]),
        "permitted": rng.random() < 0.7,
        "consents": [f"c{rng.randrange(50)}/{rng.randrange(9)}" for _ in range(rng.randrange(3))],
        "bytes": rng.randrange(2**50),
        "note": rng.choice(["", "déjà vu", 'quoted "text"', "tab\there", "\u2028", "\U0001f600", None]),
    }


def _sealed(kind: Kind, patient: str, study: str, rng: random.Random) -> Mapping[str, Plain]:
    if kind in {Kind.HEARTBEAT, Kind.STARTED, Kind.STOPPED, Kind.REFUSALS_COUNTED, Kind.SETTINGS}:
        return {}
    instances = [f"{study}.{at}" for at in range(rng.randrange(5))]
    return {"patient": patient, "study": study, "person": "Dr. Example", "instances": instances}


def _subjects(kind: Kind, patient: str, study: str, facility: str) -> list[tuple[str, str]]:
    if kind in {Kind.HEARTBEAT, Kind.STARTED, Kind.STOPPED}:
        return []
    if kind in {Kind.SIGN_IN, Kind.SIGN_OUT, Kind.SIGN_IN_FAILED, Kind.SETTINGS}:
        return [("person", "staff-3")]
    return [("patient", patient), ("study", study), ("facility", facility)]
