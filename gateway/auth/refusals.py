"""Refusals of nobody we know are counted, and the counts are recorded.

One leaf for each would let anybody fill the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from gateway.auth.errors import Reason
from storage.log.event import AuditEvent, Kind
from storage.model import Instant


class Recorder(Protocol):
    """The log, as the counter needs it."""

    async def record(self, event: AuditEvent) -> object:
        """Write `event`; returns when it is durable."""


class Refusals:
    """Counts refused credentials by place and reason until they are recorded.

    `flush` is called regularly, and once more at the end.
    """

    def __init__(self, log: Recorder, clock: Callable[[], Instant]) -> None:
        self._log = log
        self._clock = clock
        self._counts: Counter[str] = Counter()

    def count(self, place: str, reason: Reason) -> None:
        """One more refusal at `place`: token, bearer, session or sign-in."""
        self._counts[f"{place}.{reason.value}"] += 1

    async def flush(self) -> None:
        """Record what was counted since the last time; nothing is lost when that fails."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        at = self._clock()
        event = AuditEvent(kind=Kind.REFUSALS_COUNTED, at=at, request=f"refusals-{at}", plain=dict(counts))
        try:
            await self._log.record(event)
        except BaseException:
            self._counts.update(counts)
            raise
