"""One authenticated request: who asks, under which request id, and when it began."""

from __future__ import annotations

from dataclasses import dataclass

from consent.model import Requester


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What every transaction starts from. `began` is on the monotonic clock, in seconds."""

    requester: Requester
    request: str
    began: float
