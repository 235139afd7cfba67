"""One intent for many small requests: a series, under one token, for at most a minute (law 6).

A viewer asks for hundreds of frames of one series. The first request makes the intent durable before its first byte;
those that follow within the minute stand under it. Its outcome lists the instances, counts the frames and the bytes,
and is written when the minute is over and the last of them has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from consent.model import Decision
from gateway import events
from gateway.call import Call
from storage.errors import NotDurable
from storage.log.event import AuditEvent
from storage.model import Instant

COVERS_S = 60.0
LOOK_S = 5.0
_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Progress:
    """What one response has handed over so far: the body counts, the record reports."""

    instances: set[str] = field(default_factory=set)
    described: int = 0
    frames: int = 0

    @property
    def count(self) -> int:
        """Instances sent, or described in metadata."""
        return len(self.instances) or self.described


@dataclass(slots=True, eq=False)
class Cover:
    """One durable intent and what has been sent under it."""

    call: Call
    patient: str
    durable: asyncio.Future[None]
    until: float
    active: int = 0
    worst: str = "complete"
    sent_bytes: int = 0
    progress: Progress = field(default_factory=Progress)

    def ended(self, how: str, sent_bytes: int, one: Progress) -> None:
        """Count one response that stood under this intent."""
        self.active -= 1
        self.sent_bytes += sent_bytes
        self.progress.frames += one.frames
        self.progress.described = max(self.progress.described, one.described)
        self.progress.instances |= one.instances
        if how != "complete":
            self.worst = how


class Coverage:
    """The intents that are open now, by token and series."""

    def __init__(
        self,
        *,
        record: Callable[[AuditEvent], Awaitable[object]],
        clock: Callable[[], Instant],
    ) -> None:
        self._record = record
        self._clock = clock
        self._open: dict[tuple[str, int, str], Cover] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin closing covers whose minute is over."""
        self._task = asyncio.create_task(self._keep_closing())

    async def stop(self) -> None:
        """Write the outcome of every open cover."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.close_due(at=float("inf"))

    async def under(self, call: Call, decision: Decision, series: int, intent: AuditEvent, patient: str) -> Cover:
        """The durable intent that this request stands under, made now if there is none.

        Raises
        ------
        NotDurable : the intent could not be written; nothing may be sent
        """
        # an intent names the consents it stands on: what stands on others needs one of its own
        key = (decision.requester.credential, series, f"{intent.plain['what']} {intent.plain['ground']}")
        cover = self._open.get(key)
        if cover is None or cover.until <= time.monotonic():
            cover = await self._begin(key, call, intent, patient)
        cover.active += 1
        try:
            await asyncio.shield(cover.durable)
        except BaseException:
            cover.active -= 1
            raise
        return cover

    async def _begin(self, key: tuple[str, int, str], call: Call, intent: AuditEvent, patient: str) -> Cover:
        earlier = self._open.pop(key, None)
        durable: asyncio.Future[None] = asyncio.ensure_future(self._make_durable(key, intent))
        cover = Cover(call=call, patient=patient, durable=durable, until=time.monotonic() + COVERS_S)
        self._open[key] = cover
        if earlier is not None:
            await self._close_when_idle(earlier)
        return cover

    async def _make_durable(self, key: tuple[str, int, str], intent: AuditEvent) -> None:
        try:
            await self._record(intent)
        except BaseException:
            self._open.pop(key, None)
            raise

    async def _keep_closing(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.close_due(at=time.monotonic())

    async def close_due(self, *, at: float) -> None:
        """Write the outcome of every cover whose minute is over at `at` (monotonic) and that nothing runs under."""
        due = [(key, cover) for key, cover in self._open.items() if cover.until <= at and cover.active == 0]
        for key, cover in due:
            self._open.pop(key, None)
            await self._close(cover)

    async def _close_when_idle(self, cover: Cover) -> None:
        if cover.active == 0:
            await self._close(cover)
            return
        # still sending: keep it under a key of its own until the last response has ended
        self._open[(f"ending {id(cover)}", 0, "")] = cover

    async def _close(self, cover: Cover) -> None:
        progress = cover.progress
        sent = {"instances": progress.count, "frames": progress.frames, "bytes": cover.sent_bytes}
        event = events.outcome(
            cover.call, self._clock(), cover.worst, sent=sent, instances=progress.instances, patient=cover.patient
        )
        try:
            await self._record(event)
        except NotDurable:
            # the intent stays open in the record, and the sweeper will call it unknown
            _log.error("outcome.not-durable", request=cover.call.request)
