"""Revocation reaches running downloads: the epoch is confirmed from the database, and streams are decided again.

Every stream in flight is registered with the decision it runs on. Each interval the epoch is read; when it moved, or
when a grant's time came, the decision is asked again in SQL and a stream that lost a series is cut. A database that
does not answer for a second cuts them all (law 8).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from consent.decide import next_change, still_visible
from consent.model import Decision
from gateway.auth.bearer import is_revoked
from gateway.streaming import Cut
from storage import epoch
from storage.database import Database
from storage.model import Instant

STALE_S = 1.0  # a stream whose decision cannot be confirmed for this long is cut, also when nothing answers at all
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Running:
    """One stream in flight: what it sends, on whose decision, and how to end it."""

    decision: Decision
    series: frozenset[int]
    cut: Cut


class Epochs:
    """Keeps the epoch current and the streams honest.

    Parameters
    ----------
    interval_s : how often the epoch is confirmed, seconds
    clock : now, as an Instant
    overtime_s : how long a stream may go on after its token expired, seconds; its consent is still confirmed
    """

    def __init__(self, database: Database, *, interval_s: float, clock: Callable[[], Instant], overtime_s: int) -> None:
        self._database = database
        self._interval_s = interval_s
        self._clock = clock
        self._overtime = overtime_s * 1_000_000
        self._running: set[_Running] = set()
        self._due: dict[_Running, Instant | None] = {}
        self._confirmed = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self.current = 0
        self._glance = epoch.open_glance(database)

    async def start(self) -> None:
        """Read the epoch, then keep reading it."""
        await self._confirm()
        self._task = asyncio.create_task(self._keep_confirming())

    async def stop(self) -> None:
        """Stop confirming; streams that still run are cut."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._cut_all("the gateway is stopping")

    async def confirmed(self) -> int:
        """The epoch as the database has it at this moment."""
        if self._glance is not None:
            return self._glance()
        return await self._database.fetch(epoch.current)

    def known(self) -> int:
        """The epoch as the database has it where that is a file; else as it was last confirmed, an interval ago."""
        return self.current if self._glance is None else self._glance()

    async def still_allows(self, decision: Decision, series: frozenset[int], *, since: int) -> bool:
        """Whether what was decided in the epoch `since` would be decided so now."""
        if await self.confirmed() == since:
            return True
        return await self._database.fetch(_is_allowed, decision, series, self._clock())

    @contextmanager
    def watching(self, decision: Decision, series: frozenset[int], cut: Cut) -> Iterator[None]:
        """Watch one stream for as long as the block runs."""
        running = _Running(decision=decision, series=series, cut=cut)
        self._running.add(running)
        try:
            yield
        finally:
            self._running.discard(running)
            self._due.pop(running, None)

    async def _keep_confirming(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            left = self._confirmed + STALE_S - time.monotonic()
            try:
                # not wait_for: on Python 3.11 it loses a cancellation that arrives as its work ends
                async with asyncio.timeout(max(left, self._interval_s)):
                    await self._confirm()
            except Exception as error:  # noqa: BLE001 - whatever it is, what cannot be confirmed must end
                stale = time.monotonic() - self._confirmed
                _log.warning("epoch.unconfirmed", for_s=round(stale, 3), error=type(error).__name__)
                if stale >= STALE_S:
                    self._cut_all("consent could not be confirmed")

    async def _confirm(self) -> None:
        seen = await self.confirmed()
        moved = seen != self.current
        suspects = {r for r in self._running if moved or self._is_due(r)}
        if suspects:
            for running, allowed, due in await self._database.fetch(_judge, suspects, self._clock()):
                self._settle(running, allowed=allowed, due=due)
        self.current = seen
        self._confirmed = time.monotonic()

    def _is_due(self, running: _Running) -> bool:
        if running not in self._due:  # not judged yet: learn when its grants change
            return True
        now, due = self._clock(), self._due[running]
        return (due is not None and due <= now) or running.decision.requester.expires_at + self._overtime <= now

    def _settle(self, running: _Running, *, allowed: bool, due: Instant | None) -> None:
        expired = running.decision.requester.expires_at + self._overtime <= self._clock()
        if not allowed or expired:
            running.cut.cut("revoked")
        elif running in self._running:  # it may have ended while it was judged
            self._due[running] = due

    def _cut_all(self, why: str) -> None:
        for running in tuple(self._running):
            _log.warning("stream.cut", reason=why)
            running.cut.cut("revoked")


def _judge(tx: Connection, suspects: set[_Running], now: Instant) -> list[tuple[_Running, bool, Instant | None]]:
    """Each stream, whether everything it sends is still visible, and when to look again without being told."""
    verdicts = []
    for running in suspects:
        allowed = _is_allowed(tx, running.decision, running.series, now)
        verdicts.append((running, allowed, next_change(tx, running.decision, now)))
    return verdicts


def _is_allowed(tx: Connection, decision: Decision, series: frozenset[int], now: Instant) -> bool:
    return still_visible(tx, decision, series, now) == series and not is_revoked(tx, decision.requester)
