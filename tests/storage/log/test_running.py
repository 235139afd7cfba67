"""The sequencer as a server runs it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.log.event import AuditEvent, EventId, Kind
from tests.storage.log.events import NOW, events


@asynccontextmanager
async def running(log: AuditLog, **pace: float) -> AsyncIterator[None]:
    task = asyncio.create_task(log.run_sequencer(**pace))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is awaited happens in other threads and files
            await asyncio.sleep(0.02)


def published(log: AuditLog) -> int:
    here = log.publisher.published()
    return here[0].size if here else 0


async def test_what_is_recorded_is_soon_under_a_signed_checkpoint(log: AuditLog) -> None:
    async with running(log, round_s=0.05):
        for event in events(30):
            await log.record(event)
        await until(lambda: published(log) == 30)
        await log.record(AuditEvent(kind=Kind.SEARCH, at=NOW, request="one more"))
        await until(lambda: published(log) == 31)
    assert log.trouble is None
    assert log.database.read(log.verify).ok


async def test_an_idle_log_shows_that_it_is_alive(log: AuditLog) -> None:
    async with running(log, round_s=0.02, heartbeat_s=0.1):
        await until(lambda: published(log) >= 3)
    assert log.database.read(log.read, EventId(node=log.node, seq=1)).kind is Kind.HEARTBEAT


def beat() -> AuditEvent:
    return AuditEvent(kind=Kind.HEARTBEAT, at=NOW, request="")


async def test_trouble_is_told_until_it_is_over(
    database: Database, open_log: Callable[..., AuditLog], tmp_path: Path
) -> None:
    copy = tmp_path / "off-machine"
    copy.write_text("the disk is gone")
    log = open_log(database, checkpoint_copy=copy)
    async with running(log, round_s=0.02):
        await log.record(beat())
        await until(lambda: log.trouble is not None)
        assert published(log) == 0
        copy.unlink()
        await until(lambda: published(log) == 1 and log.trouble is None)
    shutil.rmtree(copy)
