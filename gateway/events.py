"""Requests as audit events: what is written into the record, and what of it is sealed.

Identifiers of patients, studies and persons are sealed; counts, outcomes and facility client_ids are plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consent.model import Decision
from gateway.call import Call
from storage.log.event import AuditEvent, Kind, Plain
from storage.model import Found, InstanceRef, Instant, Query, SeriesRef, Target


def search(call: Call, decision: Decision, query: Query, found: Found) -> AuditEvent:
    """A search and all that its answer discloses."""
    studies = sorted({uids[0] for uids in found.uids})
    patients = sorted(set(found.patients))
    return AuditEvent(
        kind=Kind.SEARCH,
        at=decision.at,
        request=call.request,
        plain={**_who(call), "level": query.level.value, "rows": len(found.objects)},
        sealed={
            "person": call.requester.person,
            "query": [f"{'.'.join(match.path)}={match.text}" for match in query.match],
            "under": [uid for uid in (query.study_instance_uid, query.series_instance_uid) if uid],
            "studies": studies,
            "patients": patients,
        },
        subjects=_subjects(call, studies, patients),
    )


def intent(
    call: Call, decision: Decision, target: Target, held: Sequence[InstanceRef | SeriesRef], *, patient: str, what: str
) -> AuditEvent:
    """What is about to be sent: durable before the first byte (law 6). `what` is instances, metadata or series."""
    studies = sorted({ref.study_instance_uid for ref in held})
    return AuditEvent(
        kind=Kind.RETRIEVE_INTENT,
        at=decision.at,
        request=call.request,
        plain={**_who(call), "what": what, "count": len(held), "ground": sorted({ref.ground for ref in held})},
        sealed={
            "person": call.requester.person,
            "study": target.study_instance_uid,
            "series": sorted({ref.series_instance_uid for ref in held}),
            "instance": target.sop_instance_uid,
            "patient": patient,
        },
        subjects=_subjects(call, studies, [patient]),
    )


def outcome(
    call: Call, at: Instant, how: str, *, sent: Mapping[str, int], instances: Iterable[str] = (), patient: str = ""
) -> AuditEvent:
    """What became of an intent: complete, client-abort, revoked or error, and how much was sent."""
    return AuditEvent(
        kind=Kind.RETRIEVE_OUTCOME,
        at=at,
        request=call.request,
        plain={"facility": call.requester.facility, "outcome": how, **sent},
        sealed={"instances": sorted(instances)},
        subjects=[("facility", call.requester.facility), *([("patient", patient)] if patient else [])],
    )


def refused(call: Call, decision: Decision, target: Target, why: str) -> AuditEvent:
    """A retrieve that was not served; absent and forbidden write the same record (law 4)."""
    return AuditEvent(
        kind=Kind.REFUSED,
        at=decision.at,
        request=call.request,
        plain={**_who(call), "why": why},
        sealed={
            "person": call.requester.person,
            "study": target.study_instance_uid,
            "series": target.series_instance_uid,
            "instance": target.sop_instance_uid,
        },
        subjects=_subjects(call, [target.study_instance_uid], []),
    )


def _who(call: Call) -> dict[str, Plain]:
    requester = call.requester
    return {
        "facility": requester.facility,
        "purpose": requester.purpose.value,
        "proven": requester.proven,
        "credential": requester.credential,
    }


def _subjects(call: Call, studies: Sequence[str], patients: Sequence[str]) -> list[tuple[str, str]]:
    return [
        ("facility", call.requester.facility),
        *(("study", uid) for uid in studies),
        *(("patient", patient) for patient in patients if patient),
    ]
