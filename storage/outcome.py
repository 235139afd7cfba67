"""What became of one received instance."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.Enum):
    """The five ends of a store."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same instance is already here: success, and nothing was written
    CONFLICT = "conflict"  # it contradicts what is here, or could run as a program: in quarantine, not in the catalog
    REJECTED = "rejected"  # it cannot be kept at all
    FAILED = "failed"  # the store could not keep it now: it may be sent again


# failure reasons of PS3.18 I.2.2 that no exception carries
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
OUT_OF_RESOURCES = 0xA700
IDENTITY_DISAGREES = 0xA900
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the instance that was received as `name`.

    `reason` is a plain sentence without patient data, empty after a success; `failure_reason` its code in
    PS3.18 I.2.2, None after a success. UIDs are empty where the bytes could not be understood.
    """

    name: str
    status: Status
    reason: str = ""
    failure_reason: int | None = None
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
