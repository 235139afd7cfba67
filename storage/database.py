"""One adapter for both databases: plain functions over a synchronous Core engine, run in threads of its own.

A function takes `tx` (a Connection inside a transaction) first. Readers run it in a small pool; writers hand it to
the single writer thread, which commits at once when idle and takes what arrived meanwhile into the next commit (at
most 64 functions). A result is given back only after its commit is durable.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import pysqlite3.dbapi2 as bundled_sqlite
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from storage.errors import NotDurable, StorageError

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Connection, P], T]

BATCH: Final = 64  # functions in one commit: 64 records cost hardly more than one
SQLITE_MINIMUM: Final = (3, 51, 3)  # earlier ones can corrupt a WAL that two connections checkpoint
TRIES: Final = 5  # of a function that lost to another node
BUSY_MS: Final = 10_000  # how long a commit waits for another process's commit


class Database:
    """A catalog, consent and log database: `read` and `fetch` to look, `write` and `commit` to change.

    Parameters
    ----------
    url : SQLAlchemy URL; `sqlite:///path` or `postgresql+psycopg://…`
    readers : number of reading threads, each with a connection of its own
    """

    def __init__(self, url: str, *, readers: int = 4) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._read_engine = _open_engine(self.url, writer=False, size=readers + 4)
        self._write_engine = _open_engine(self.url, writer=True, size=1)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_until_closed, name="writer", daemon=True)
        self._started = threading.Lock()
        self._closed = False
        self._held: list[sa.PoolProxiedConnection] = []
        self._short: Connection | None = None

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a reading transaction on this thread."""
        with self._read_engine.begin() as tx:
            return work(tx, *args, **kwargs)

    async def fetch(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a reading transaction on a reader thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self.read(work, *args, **kwargs))

    async def fetch_short(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a reading transaction, at once where the database is a file: for work of well under 1 ms.

        Handing such work to another thread and back costs as much as the work. To be called in one event loop. Each
        statement sees the database as it is then: there is no transaction around several.
        """
        if not self.is_sqlite:
            return await self.fetch(work, *args, **kwargs)
        if self._short is None:
            self._short = _open_engine(self.url, writer=False, size=1, begins=False).connect()
        return work(self._short, *args, **kwargs)

    def open_cursor(self) -> Any:
        """A reading cursor of the SQLite driver, on a connection of its own, for what cannot wait for a thread."""
        connection = self._read_engine.raw_connection()
        self._held.append(connection)
        return connection.cursor()

    def submit(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue `work` for the writer; the future has its result once the commit is durable.

        The future raises what `work` raised (its changes are undone, its neighbours' are not), or NotDurable when
        the commit failed.
        """
        with self._started:
            if self._closed:
                raise NotDurable
            if not self._writer.is_alive():
                self._writer.start()
        job = _Job(lambda tx: work(tx, *args, **kwargs))
        self._queue.put(job)
        return job.future

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` on the writer and wait until it is durable."""
        return self.submit(work, *args, **kwargs).result()

    async def commit(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` on the writer; returns when it is durable."""
        return await asyncio.wrap_future(self.submit(work, *args, **kwargs))

    def close(self) -> None:
        """Commit what is queued, then let go of all connections."""
        with self._started:
            self._closed = True
            running = self._writer.is_alive()
        if running:
            self._queue.put(None)
            self._writer.join()
        self._readers.shutdown()
        for connection in self._held:
            connection.close()
        if self._short is not None:
            self._short.close()
            self._short.engine.dispose()
        self._read_engine.dispose()
        self._write_engine.dispose()

    def _write_until_closed(self) -> None:
        last = False
        while not last:
            batch, last = self._take()
            if batch:
                self._commit_batch(batch)
            for job in batch:
                while job.must_try_again():
                    self._commit_batch([job])

    def _take(self) -> tuple[list[_Job], bool]:
        """The next job and those that arrived meanwhile; true when the database is being closed."""
        first = self._queue.get()
        if first is None:
            return [], True
        batch = [first]
        while len(batch) < BATCH and not self._queue.empty():
            job = self._queue.get()
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _commit_batch(self, batch: list[_Job]) -> None:
        try:
            with self._write_engine.begin() as tx:
                for job in batch:
                    job.run(tx, alone=len(batch) == 1)
                    if _rolled_back(tx):
                        # SQLite undoes the whole transaction when the disk is full or fails, not only the savepoint
                        raise NotDurable  # noqa: TRY301 - the neighbours' work is gone with it
        except _WorkFailed as failed:
            batch[0].give_up(failed.reason)
            return
        except BaseException as error:  # noqa: BLE001 - whatever broke the commit, every waiting caller must hear it
            for job in batch:
                job.fail(error)
            return
        for job in batch:
            job.settle()


class _WorkFailed(Exception):
    """The only function of a commit raised; the transaction is rolled back."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason


class _Job:
    """One queued function, what came of it, and who waits."""

    def __init__(self, work: Callable[[Connection], object]) -> None:
        self.work = work
        self.future: Future = Future()  # type: ignore[type-arg]
        self._result: object = None
        self._error: Exception | None = None
        self._tries = 0

    def must_try_again(self) -> bool:
        """Whether the database ended this function to let another node go on; then it has not been answered yet."""
        return not self.future.done()

    def give_up(self, error: Exception) -> None:
        """Tell the caller what the function raised, unless it is worth another try."""
        self._tries += 1
        if _lost_to_another_node(error) and self._tries < TRIES:
            self._error = None
            return
        self.future.set_exception(error)

    def run(self, tx: Connection, *, alone: bool) -> None:
        """Run inside `tx`; a failure undoes this function only."""
        try:
            if alone:
                self._result = self.work(tx)
            else:
                with tx.begin_nested():
                    self._result = self.work(tx)
        except Exception as error:
            if alone:
                raise _WorkFailed(error) from error
            self._error = error

    def settle(self) -> None:
        """Tell the caller, now that the commit is durable."""
        if self._error is not None:
            self.give_up(self._error)
        else:
            self.future.set_result(self._result)

    def fail(self, error: BaseException) -> None:
        """Tell the caller that the commit was not durable."""
        refusal = self._error or NotDurable()
        refusal.__cause__ = error
        self.future.set_exception(refusal)


def _lost_to_another_node(error: Exception) -> bool:
    """Whether PostgreSQL chose this transaction to end a deadlock or a conflict (40P01, 40001)."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in {"40P01", "40001"}


def _rolled_back(tx: Connection) -> bool:
    return tx.dialect.name == "sqlite" and not tx.connection.driver_connection.in_transaction  # type: ignore[union-attr]


def sqlite_url(data: Path) -> str:
    """The embedded database of a data directory."""
    return f"sqlite:///{(data / 'openpriors.db').absolute()}"


def _open_engine(url: sa.URL, *, writer: bool, size: int, begins: bool = True) -> Engine:
    """An engine for the writer or for readers; without `begins` no transaction is begun around statements."""
    if url.get_backend_name() != "sqlite":
        return _postgresql_engine(url, size)
    if bundled_sqlite.sqlite_version_info < SQLITE_MINIMUM:
        version = ".".join(map(str, SQLITE_MINIMUM))
        raise StorageError(
            f"SQLite {bundled_sqlite.sqlite_version} can corrupt a shared database; {version} is needed."
        )
    engine = sa.create_engine(
        url,
        module=bundled_sqlite,
        connect_args={"check_same_thread": False, "isolation_level": None, "cached_statements": 256},
        poolclass=sa.pool.QueuePool,
        pool_size=size,
        max_overflow=-1,
        hide_parameters=True,  # the message of an error must not repeat whom a statement was about
    )
    event.listen(engine, "connect", _sqlite_writer_settings if writer else _sqlite_reader_settings)
    if begins:
        event.listen(engine, "begin", _begin_immediate if writer else _begin_deferred)
    return engine


def _postgresql_engine(url: sa.URL, size: int) -> Engine:
    return sa.create_engine(
        url,
        pool_size=size,
        max_overflow=-1,
        pool_pre_ping=True,
        hide_parameters=True,
        # a server that answers before its log is on disk would make every acknowledgement a lie
        # compiling a plan takes longer than any of our statements runs
        connect_args={"options": "-c synchronous_commit=on -c timezone=UTC -c jit=off"},
    )


def _sqlite_writer_settings(connection: object, _record: object) -> None:
    pragmas = (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "mmap_size=0",
        "temp_store=MEMORY",
        "cache_size=-65536",
    )
    _set_pragmas(connection, pragmas)


def _sqlite_reader_settings(connection: object, _record: object) -> None:
    _set_pragmas(connection, (f"busy_timeout={BUSY_MS}", "query_only=ON", "mmap_size=0", "cache_size=-65536"))


def _set_pragmas(connection: object, pragmas: tuple[str, ...]) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
