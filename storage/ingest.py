"""Ingest: an instance that is answered as stored survives a power cut, is in the catalog, and is on record.

1. take      its bytes are received, measured, scanned, indexed                      storage/reception.py
2. judge     new, the same again, or in contradiction                               storage/judgement.py
3. keep      its bytes are made durable: among the objects, or in quarantine        storage/object_folder.py
4. admit     catalog rows and audit events in one durable transaction               storage/admission.py
5. answer    only now may anybody be told
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from storage import quarantine
from storage.admission import CameFirst
from storage.archive import WritableArchive
from storage.content import Source
from storage.data_directory import DataDirectory
from storage.database import Database
from storage.errors import NotDurable
from storage.ingest_events import let_go
from storage.model import Custody, Instant
from storage.outcome import PROCESSING_FAILURE, Outcome, Status
from storage.quarantine import Confined
from storage.reception import Delivery, Received, Reception, Taken
from storage.settlement import Append, IngestPolicy, Settlement
from storage.spool import Staged

AT_ONCE: Final = 64  # instances in one transaction: more would make a revocation wait
TAKERS: Final = 4  # threads that scan; the interpreter runs one of them at a time, the others hash or read
KEEPERS: Final = 16  # threads that wait for the disk: the flushes of a batch share the file system's commits
TRIES: Final = 5
_ABORTED: Final = frozenset({"40001", "40P01"})  # PostgreSQL chose this transaction to end a circle


class Ingest:
    """Stores instances into an archive that this gateway writes.

    Parameters
    ----------
    append : writes events into the log inside a transaction: `AuditLog.append_many`
    custody : in whose name instances are stored when a delivery does not say
    takers : threads that scan
    keepers : threads that wait for the disk
    """

    def __init__(
        self,
        *,
        database: Database,
        archive: WritableArchive,
        directory: DataDirectory,
        append: Append,
        policy: IngestPolicy,
        clock: Callable[[], Instant],
        custody: Custody,
        takers: int = TAKERS,
        keepers: int = KEEPERS,
    ) -> None:
        self._database = database
        self._directory = directory
        self._policy = policy
        self._custody = custody
        self._append = append
        self._clock = clock
        self._takers = ThreadPoolExecutor(takers, thread_name_prefix="take")
        self._keepers = ThreadPoolExecutor(keepers, thread_name_prefix="keep")
        self._settlement = Settlement(
            database=database,
            archive=archive,
            directory=directory,
            append=append,
            policy=policy,
            clock=clock,
            keepers=self._keepers,
        )
        self._reception = Reception(directory.spool, policy.limits, self._settlement.find_twin)
        self._turn = threading.Lock()

    def delivery(self, request: str, default_issuer: str | None = None) -> Delivery:
        """A delivery in the name of this ingest's own job."""
        return Delivery(
            request=request,
            job=self._custody.job,
            actor=self._custody.actor,
            default_issuer=default_issuer or self._policy.default_issuer,
        )

    def stage(self) -> Staged:
        """An empty file for an instance that arrives piece by piece; hand it to `store` when it is whole, or remove it.

        Raises
        ------
        StoreFull, ReadOnly : nothing can be received now
        """
        return self._directory.spool.stage()

    def store(self, source: Source, delivery: Delivery, *, name: str = "") -> Outcome:
        """Store one instance; returns when it is durable, or certain that it is not kept."""
        return next(iter(self.store_many([Received(name=name, source=source)], delivery)))

    def store_many(self, received: Iterable[Received], delivery: Delivery) -> Iterator[Outcome]:
        """Store instances, at most 64 in a transaction; gives the outcome of each, in their order, when it is durable.

        While one batch is made durable, the next ones are scanned. Files that were staged are removed at the end.
        """
        sources = iter(received)
        waiting: deque[Future[Taken]] = deque()
        try:
            while self._fill(waiting, sources, delivery):
                batch = [waiting.popleft().result()]
                while waiting and waiting[0].done() and len(batch) < AT_ONCE:
                    batch.append(waiting.popleft().result())
                self._fill(waiting, sources, delivery)
                yield from self._settle(batch, delivery)
        finally:
            for future in waiting:
                future.result().let_go()

    def import_all(self, found: Iterable[Received | Outcome], delivery: Delivery) -> Iterator[Outcome]:
        """Store what `import_source.find` found, and pass on what it refused; not always in the same order."""
        refused: deque[Outcome] = deque()

        def received() -> Iterator[Received]:
            for one in found:
                if isinstance(one, Outcome):
                    refused.append(one)
                else:
                    yield one

        for outcome in self.store_many(received(), delivery):
            while refused:
                yield refused.popleft()
            yield outcome
        yield from refused

    def release(self, key: int, delivery: Delivery) -> Outcome:
        """Store what is held in quarantine after all, on an operator's word.

        What still contradicts the catalog stays where it is.

        Raises
        ------
        KeyError : there is no such entry, or it is not held
        """
        held = self._held(key)
        path = self._directory.quarantine.path_of(held.digest)
        outcome = self.store(path, replace(delivery, reviewed=True), name=f"quarantine {key}")
        if outcome.status in {Status.STORED, Status.DUPLICATE}:
            self._let_go(held, delivery, "released")
        return outcome

    def discard(self, key: int, delivery: Delivery) -> None:
        """Delete what is held in quarantine, on an operator's word; what it was stays on record.

        Raises
        ------
        KeyError : there is no such entry, or it is not held
        """
        self._let_go(self._held(key), delivery, "discarded")

    def close(self) -> None:
        """Let the threads end."""
        self._takers.shutdown()
        self._keepers.shutdown()

    def _held(self, key: int) -> Confined:
        held = self._database.read(quarantine.find, key)
        if held is None or held.state != "held":
            raise KeyError(key)
        return held

    def _let_go(self, held: Confined, delivery: Delivery, state: str) -> None:
        self._database.write(self._note_let_go, held, delivery, state)
        self._directory.quarantine.remove(held.digest)

    def _note_let_go(self, tx: Connection, held: Confined, delivery: Delivery, state: str) -> None:
        quarantine.set_state(tx, held.key, state)
        self._append(tx, [let_go(delivery, self._clock(), held, state)])

    def _fill(self, waiting: deque[Future[Taken]], sources: Iterator[Received], delivery: Delivery) -> bool:
        while len(waiting) < 2 * AT_ONCE:
            received = next(sources, None)
            if received is None:
                break
            waiting.append(self._takers.submit(self._reception.take, received, delivery))
        return bool(waiting)

    def _settle(self, batch: Sequence[Taken], delivery: Delivery) -> list[Outcome]:
        """Bring every one of a batch to its end."""
        try:
            with self._turn:  # one batch of this process at a time, so that other writers need not wait long
                self._try_until_settled(batch, delivery)
        finally:
            for taken in batch:
                taken.let_go()
        return [taken.outcome for taken in batch if taken.outcome is not None]

    def _try_until_settled(self, batch: Sequence[Taken], delivery: Delivery) -> None:
        for _ in range(TRIES):
            open_ones = [taken for taken in batch if taken.outcome is None]
            if not open_ones:
                return
            try:
                self._settlement.attempt(open_ones, delivery)
            except (CameFirst, IntegrityError):
                continue  # another process was first: judge again
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in _ABORTED:
                    break
            except NotDurable:
                break
        for taken in batch:
            if taken.outcome is None:
                taken.end(Status.FAILED, "The catalog could not be written; send it again.", PROCESSING_FAILURE)
