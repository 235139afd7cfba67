"""What every fault is tried on: a few made-up instances are imported, and each is told of as soon as it may be.

A seed plants one of the classic mistakes in the write path; every campaign must catch those that its fault can show.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import event

import consent.tables
import gateway.auth.tables  # noqa: F401 - the metadata must know every table
from storage import schema
from storage.database import Database, sqlite_url
from storage.durable import Sync
from storage.reception import Received
from tests.storage import made_up
from tests.storage.opened_store import Store, open_store

assert consent.tables

PR_SET_PTRACER = 0x59616D61
SIZES = (32, 8 << 10, 300 << 10, 32, 1200 << 10, 2 << 10)
SEEDS = ("no-file-sync", "no-directory-sync", "synchronous-normal")


class NoFileSync(Sync):
    """The mistake of trusting `close`."""

    def file(self, fd: int) -> None:
        pass


class NoDirectorySync(Sync):
    """The mistake of forgetting that a name is data too."""

    def directory(self, path: Path) -> None:
        pass


def files(round_number: int, count: int) -> list[bytes]:
    """Made-up instances of two series; every round has others."""
    series = [f"{made_up.SERIES}.{round_number}.{number}" for number in (1, 2)]
    return [made_up.instance(n + 1, size=SIZES[n % len(SIZES)], SeriesInstanceUID=series[n % 2]) for n in range(count)]


def opened(root: Path, seed: str | None = None, **threads: int) -> Store:
    """The store below `root`, made when it is not there, with its keys beside it."""
    data = root / "data"
    if seed and not data.exists():
        close(opened(root))  # the mistake is in what is stored, not in how the store was made
    data.mkdir(parents=True, exist_ok=True)
    database = Database(sqlite_url(data))
    if seed == "synchronous-normal":
        event.listen(database._write_engine, "connect", _less_careful)
    database.write(schema.install, "fault-store")
    sync = {"no-file-sync": NoFileSync, "no-directory-sync": NoDirectorySync}.get(seed or "", Sync)()
    return open_store(data, database, sync=sync, **threads)


def _less_careful(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def close(store: Store) -> None:
    store.close()
    store.database.close()


def import_and_tell(store: Store, instances: list[bytes], tell: Callable[[str], None], *, one_by_one: bool) -> None:
    """Store the instances; `tell` hears the digest of each as soon as its sender could."""
    delivery = store.ingest.delivery("fault")
    batches = [[one] for one in instances] if one_by_one else [instances]
    for batch in batches:
        received = [Received(name=sha256(one).hexdigest(), source=one) for one in batch]
        for outcome in store.ingest.store_many(received, delivery):
            if outcome.failure_reason is None:
                tell(outcome.name)


@dataclass
class Survey:
    """The state of a store after a fault: what it holds of what was promised, and what its own check says."""

    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    orphans: int = 0
    instances: int = 0

    @property
    def ok(self) -> bool:
        return not (self.lost or self.corrupt or self.problems)


def survey(root: Path, told: list[str]) -> dict[str, Any]:
    """Open the store as its next start would, and look at everything."""
    store = opened(root)
    try:
        report = store.fsck()
        found = Survey(problems=report.problems, orphans=report.counts["orphans"], instances=report.counts["instances"])
        known = {row["digest"].hex() for row in store.rows(_instance_table())}
        for digest in told:
            path = store.directory.objects.path_of(bytes.fromhex(digest))
            if digest not in known or not path.exists():
                found.lost.append(digest)
            elif sha256(path.read_bytes()).hexdigest() != digest:
                found.corrupt.append(digest)
        return asdict(found)
    finally:
        close(store)


def _instance_table() -> Any:
    from storage.tables import instance

    return instance


def import_again(root: Path, round_number: int, count: int) -> dict[str, Any]:
    """What the sender does after a fault: send all of it again. Everything must be there then."""
    store = opened(root)
    told: list[str] = []
    import_and_tell(store, files(round_number, count), told.append, one_by_one=False)
    close(store)
    found = Survey(**survey(root, told))
    if len(told) != count:
        found.problems.append(f"only {len(told)} of {count} instances could be sent again")
    return asdict(found)


class Child:
    """A forked process: says `ready`, waits for `go`, then tells digests line by line."""

    def __init__(
        self, root: Path, instances: list[bytes], *, seed: str | None = None, one_by_one: bool = True, **threads: int
    ) -> None:
        self._told, telling = os.pipe()
        waiting, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._told)
            os.close(self._go)
            _run_importer(lambda: opened(root, seed, **threads), instances, one_by_one, waiting, telling)
        os.close(telling)
        os.close(waiting)
        self.lines = os.fdopen(self._told, encoding="ascii")

    def wait_until_opened(self) -> bool:
        """Whether it has opened its store; it waits for `go` now."""
        return self.lines.readline() == "ready\n"

    def go(self) -> None:
        os.write(self._go, b"!")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def told(self) -> list[str]:
        """Everything it told until its end."""
        told = [line.strip() for line in self.lines if line.endswith("\n") and line not in {"end\n", "ready\n"}]
        self.lines.close()
        os.close(self._go)
        os.waitpid(self.pid, 0)
        return told


def _run_importer(
    open_it: Callable[[], Store], instances: list[bytes], one_by_one: bool, waiting: int, telling: int
) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))  # strace may look at it, whoever runs the tests
    try:
        store = open_it()
        os.write(telling, b"ready\n")
        os.read(waiting, 1)
        import_and_tell(
            store, instances, lambda digest: os.write(telling, f"{digest}\n".encode()) and None, one_by_one=one_by_one
        )
        os.write(telling, b"end\n")
    except BaseException:  # noqa: BLE001 - the fault may strike anywhere; what was told counts
        if os.environ.get("FAULTS_VERBOSE"):
            traceback.print_exc()
    os._exit(0)


def in_child(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The answer of a function that runs in a process of its own, so that nothing of it stays open here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = json.dumps(work(*arguments))
        except BaseException as error:  # noqa: BLE001 - told to the parent
            traceback.print_exc()
            answer = json.dumps({"problems": [f"{type(error).__name__}: {error}"]})
        with os.fdopen(writing, "w") as stream:
            stream.write(answer)
        sys.stderr.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return json.loads(answer)
