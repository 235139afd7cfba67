"""Record events from many requests at once: whoever waits is told only after the commit is on disk.

The first event is written at once; those that arrive while its commit runs share the next one, at most 64 of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection

from storage.database import Database
from storage.errors import NotDurable, StorageError
from storage.log.entry import Prepared
from storage.log.event import EventId

MOST_AT_ONCE: Final = 64

Append = Callable[[Connection, Sequence[Prepared]], list[EventId]]


class Recorder:
    """Gathers prepared events into shared commits.

    Parameters
    ----------
    database : where they are committed
    append : writes prepared events inside a transaction
    """

    def __init__(self, database: Database, append: Append) -> None:
        self._database = database
        self._append = append
        self._lock = threading.Lock()
        self._waiting: deque[_Waiter] = deque()
        self._running = False

    async def record(self, prepared: Prepared) -> EventId:
        """Make one event durable; NotDurable when it is not."""
        waiter = _Waiter(prepared)
        self._waiting.append(waiter)
        self._start()
        return await waiter.answer

    def _start(self) -> None:
        with self._lock:
            if self._running or not self._waiting:
                return
            self._running = True
        batch: list[_Waiter] = []
        try:
            job = self._database.submit(self._write, batch)
        except NotDurable as error:
            self._running = False
            self._refuse_all(error)
            return
        job.add_done_callback(lambda done: self._finish(batch, done))

    def _write(self, tx: Connection, batch: list[_Waiter]) -> list[EventId]:
        """Write what is waiting by now: this runs on the writer, after the commit before."""
        while self._waiting and len(batch) < MOST_AT_ONCE:
            batch.append(self._waiting.popleft())
        return self._append(tx, [waiter.prepared for waiter in batch])

    def _finish(self, batch: list[_Waiter], done: Future[list[EventId]]) -> None:
        self._running = False
        self._start()
        error = done.exception()
        if error is None:
            _tell(zip(batch, done.result(), strict=True))
        elif len(batch) > 1 and not isinstance(error, NotDurable):
            # one event that cannot be written must not take its neighbours with it
            for waiter in batch:
                self._write_alone(waiter)
        else:
            _tell((waiter, _refusal(error)) for waiter in batch)

    def _write_alone(self, waiter: _Waiter) -> None:
        def answer(done: Future[list[EventId]]) -> None:
            error = done.exception()
            _tell([(waiter, done.result()[0] if error is None else _refusal(error))])

        try:
            self._database.submit(self._append, [waiter.prepared]).add_done_callback(answer)
        except NotDurable as error:
            _tell([(waiter, error)])

    def _refuse_all(self, error: NotDurable) -> None:
        refused = []
        while self._waiting:
            refused.append((self._waiting.popleft(), error))
        _tell(refused)


class _Waiter:
    """One event and the request that waits for it."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[EventId] = self.loop.create_future()


def _refusal(error: BaseException) -> BaseException:
    """Give what the waiting request hears: whatever broke the writing, nothing was recorded."""
    if isinstance(error, StorageError):
        return error
    refusal = NotDurable()
    refusal.__cause__ = error
    return refusal


def _tell(answers: Iterable[tuple[_Waiter, EventId | BaseException]]) -> None:
    """Wake the waiting requests, each loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Waiter, EventId | BaseException]]] = {}
    for waiter, answer in answers:
        loops.setdefault(waiter.loop, []).append((waiter, answer))
    for loop, mine in loops.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, mine)


def _settle(answers: list[tuple[_Waiter, EventId | BaseException]]) -> None:
    for waiter, answer in answers:
        if waiter.answer.done():
            continue  # the request was cancelled; its event stands
        if isinstance(answer, EventId):
            waiter.answer.set_result(answer)
        else:
            waiter.answer.set_exception(answer)
