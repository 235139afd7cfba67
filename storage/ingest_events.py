"""What the log says of a store: one event for each study in a commit, and one for each instance in quarantine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage import patients
from storage.index import Indexed
from storage.judgement import Standing
from storage.log.event import AuditEvent, Kind, Plain
from storage.model import Instant
from storage.quarantine import Confined
from storage.reception import Delivery, Taken

INSTANCES = "instances"
"""The sealed field of an INGESTED event with the SOP Instance UIDs that were added to the catalog."""


def ingested(delivery: Delivery, at: Instant, settled: Iterable[tuple[Taken, Standing]]) -> list[AuditEvent]:
    """The instances of each study that were added, repaired, or sent again."""
    by_study: dict[str, list[tuple[Taken, Standing]]] = {}
    for taken, standing in settled:
        by_study.setdefault(_study_of(taken), []).append((taken, standing))
    return [_of_study(delivery, at, uid, found) for uid, found in sorted(by_study.items())]


def quarantined(delivery: Delivery, at: Instant, taken: Taken, reason: str, *, kept: bool) -> AuditEvent:
    """Bytes that may not be served; `kept` tells whether there was room for them."""
    assert taken.candidate is not None
    one = taken.candidate.indexed
    return AuditEvent(
        kind=Kind.QUARANTINED,
        at=at,
        request=delivery.request,
        plain={
            "job": delivery.job,
            "change": "held",
            "reason": reason,
            "bytes": taken.candidate.size_bytes,
            "kept": kept,
        },
        sealed={
            "actor": delivery.actor,
            "digest": taken.candidate.digest.hex(),
            "study": one.study_instance_uid,
            "instance": one.sop_instance_uid,
        },
        subjects=_subjects(one.study_instance_uid, [one]),
    )


def let_go(delivery: Delivery, at: Instant, held: Confined, state: str) -> AuditEvent:
    """An operator let bytes out of quarantine: `released` into the catalog, or `discarded`."""
    return AuditEvent(
        kind=Kind.QUARANTINED,
        at=at,
        request=delivery.request,
        plain={"job": delivery.job, "change": state, "bytes": held.size_bytes},
        sealed={"actor": delivery.actor, "digest": held.digest.hex(), "instance": held.sop_instance_uid},
    )


def _of_study(
    delivery: Delivery, at: Instant, study_instance_uid: str, found: Sequence[tuple[Taken, Standing]]
) -> AuditEvent:
    new = [taken.candidate for taken, standing in found if standing is Standing.NEW and taken.candidate]
    named = [taken.candidate.indexed for taken, _ in found if taken.candidate]
    plain: dict[str, Plain] = {
        "job": delivery.job,
        "stored": len(new),
        "repaired": sum(standing is Standing.REPAIR for _, standing in found),
        "duplicate": sum(standing is Standing.DUPLICATE for _, standing in found),
        "bytes": sum(candidate.size_bytes for candidate in new),
    }
    sealed: dict[str, Plain] = {
        "actor": delivery.actor,
        "study": study_instance_uid,
        INSTANCES: [candidate.indexed.sop_instance_uid for candidate in new],
        "others": [_sop_of(taken) for taken, standing in found if standing is not Standing.NEW],
    }
    return AuditEvent(
        kind=Kind.INGESTED,
        at=at,
        request=delivery.request,
        plain=plain,
        sealed=sealed,
        subjects=_subjects(study_instance_uid, named),
    )


def _subjects(study_instance_uid: str, named: Sequence[Indexed]) -> list[tuple[str, str]]:
    people = [
        ("patient", patients.identifier(str(one.study["patient_id"]), str(one.study["issuer"])))
        for one in named
        if one.study["patient_id"] and one.study["issuer"]
    ]
    return [("study", study_instance_uid), *dict.fromkeys(people)]


def _study_of(taken: Taken) -> str:
    one = taken.candidate.indexed if taken.candidate else taken.twin
    return one.study_instance_uid if one else ""


def _sop_of(taken: Taken) -> str:
    one = taken.candidate.indexed if taken.candidate else taken.twin
    return one.sop_instance_uid if one else ""
