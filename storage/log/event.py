"""What the log records: one event, its words, and which of them must be sealed.

`plain` is public inside the tree (counts, outcomes, facility client_ids, versions); `sealed` holds everything that
identifies a patient, a study or a person, and enters the tree as salted commitments only.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.model import Instant

Plain = str | int | bool | None | Sequence[str]


class Kind(enum.Enum):
    """The events of the record (PS3.15 A.5 event ids in brackets where one exists)."""

    SEARCH = "search"  # Query (110112)
    RETRIEVE_INTENT = "retrieve.intent"  # Begin Transferring DICOM Instances (110102)
    RETRIEVE_OUTCOME = "retrieve.outcome"  # DICOM Instances Transferred (110104)
    UNKNOWN_AFTER_CRASH = "retrieve.unknown-after-crash"
    REFUSED = "refused"
    REFUSALS_COUNTED = "refusals.counted"
    CONSENT = "consent.changed"
    FACILITY = "facility.changed"
    STAFF = "staff.changed"
    SIGN_IN = "sign-in"  # User Authentication (110114)
    SIGN_IN_FAILED = "sign-in.failed"
    SIGN_OUT = "sign-out"
    TOKEN_ISSUED = "token.issued"  # noqa: S105 - the name of an event
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - the name of an event
    DESK_VIEW = "desk.viewed"  # DICOM Instances Accessed (110103)
    INGESTED = "ingested"
    QUARANTINED = "quarantined"
    STUDY_STATE = "study.state"
    HOLD = "hold.changed"
    SETTINGS = "settings.changed"
    STARTED = "started"  # Application Activity (110100)
    STOPPED = "stopped"
    HEARTBEAT = "heartbeat"
    PROOF_USED = "log.used"  # Audit Log Used (110101)
    ERASED = "log.erased"  # openings of an event were deleted on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event: what happened, when, in which request, and the facts.

    `request` joins an intent and its outcome. `subjects` are (kind, identifier) pairs by which the event can be found
    again, kinds being patient, study, facility, consent and person.
    """

    kind: Kind
    at: Instant
    request: str
    plain: Mapping[str, Plain] = field(default_factory=dict)
    sealed: Mapping[str, Plain] = field(default_factory=dict)
    subjects: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventId:
    """Where an event stands: the node that wrote it and its number there, gapless from 1."""

    node: str
    seq: int
