"""What the gateway does by itself while it serves: checkpoints, sweeps, expiry."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from consent import register
from consent.model import Provenance
from gateway.auth.refusals import Refusals
from gateway.auth.replay import sweep as sweep_credentials
from gateway.auth.session import IDLE
from gateway.parts import Parts
from storage.errors import StorageError

SWEEP_S = 15.0  # intents of processes that are gone, and refusals counted meanwhile
EXPIRE_S = 30.0  # consents that have ended; they stopped counting by themselves before
FORGET_S = 3600.0  # credentials that are over
_log = structlog.get_logger()


class Jobs:
    """The recurring work of one process."""

    def __init__(self, parts: Parts, refusals: Refusals) -> None:
        self._parts = parts
        self._refusals = refusals
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(self._parts.log.run_sequencer()),
            asyncio.create_task(_every(SWEEP_S, "sweep", self._sweep)),
            asyncio.create_task(_every(EXPIRE_S, "expire", self._expire)),
            asyncio.create_task(_every(FORGET_S, "forget", self._forget)),
        ]

    async def stop(self) -> None:
        """End, after one last count of refusals and one last checkpoint."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        with suppress(StorageError, SQLAlchemyError):
            await self._refusals.flush()
            await asyncio.to_thread(self._parts.log.advance)

    async def _sweep(self) -> None:
        log, presence = self._parts.log, self._parts.presence
        await self._parts.database.commit(lambda tx: log.sweep(tx, lambda name: presence.alive(tx, name)))
        await self._refusals.flush()

    async def _expire(self) -> None:
        provenance = Provenance(by="the clock", at=self._parts.clock(), request="job-" + secrets.token_hex(8))
        await self._parts.database.commit(register.expire_due, self._parts.log, provenance)

    async def _forget(self) -> None:
        await self._parts.database.commit(sweep_credentials, self._parts.clock(), idle=IDLE)


async def _every(seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except (StorageError, SQLAlchemyError) as error:
            _log.error("job.failed", job=name, error=type(error).__name__)
        await asyncio.sleep(seconds)
