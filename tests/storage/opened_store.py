"""A store as a gateway opens it: data directory, database, archive, log and ingest, with a clock that stands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection, select

from storage import fsck
from storage.archive.disk import DiskArchive
from storage.data_directory import DataDirectory, open_data_directory
from storage.database import Database
from storage.durable import Sync
from storage.import_source import find
from storage.ingest import Ingest
from storage.log.audit_log import AuditLog
from storage.log.event import Kind
from storage.log.reading import OpenedEvent
from storage.model import Custody, InstanceRef
from storage.object_check import Report
from storage.outcome import Outcome
from storage.reception import Received
from storage.sealing import KeyRing
from storage.settlement import IngestPolicy
from storage.space import Space
from storage.steward import Task
from storage.tables import instance, log_event, series, study

NOON = 1_790_000_000_000_000  # 2026-09-21T13:33:20Z
CUSTODY = Custody(job="test import", actor="tester")


@dataclass(slots=True)
class Store:
    root: Path
    database: Database
    directory: DataDirectory
    archive: DiskArchive
    log: AuditLog
    ingest: Ingest
    now: list[int] = field(default_factory=lambda: [NOON])

    def store(self, *files: bytes, issuer: str | None = None, study_instance_uid: str | None = None) -> list[Outcome]:
        delivery = replace(self.ingest.delivery("request-1", issuer), study_instance_uid=study_instance_uid)
        received = [Received(name=f"file {number}", source=file) for number, file in enumerate(files)]
        return list(self.ingest.store_many(received, delivery))

    def import_paths(self, *paths: Path) -> list[Outcome]:
        return list(self.ingest.import_all(find(paths), self.ingest.delivery("request-1")))

    def rows(self, table) -> list[dict]:
        def read(tx: Connection) -> list[dict]:
            return [row._asdict() for row in tx.execute(select(table).order_by(*table.primary_key))]

        return self.database.read(read)

    def ref(self, sop_instance_uid: str) -> InstanceRef:
        return self.database.read(ref_of, sop_instance_uid)

    def read_back(self, sop_instance_uid: str) -> bytes:
        return b"".join(self.archive.read_chunks(self.ref(sop_instance_uid)))

    def events(self, kind: Kind) -> list[OpenedEvent]:
        def read(tx: Connection) -> list[OpenedEvent]:
            from storage.log.event import EventId

            places = tx.execute(select(log_event.c.node, log_event.c.seq).order_by(log_event.c.seq)).all()
            return [self.log.read(tx, EventId(node=node, seq=seq)) for node, seq in places]

        return [event for event in self.database.read(read) if event.kind is kind]

    def task(self, actor: str = "tester") -> Task:
        custody = Custody(job="test", actor=actor)
        return Task(custody=custody, append=self.log.append_many, at=self.now[0], request="request-2")

    def fsck(self, *, full: bool = True) -> Report:
        return fsck.check(self.database, self.directory, self.log, CUSTODY, full=full)

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of objects and quarantine: size and time of its last change."""
        found = [*self.directory.objects.root.rglob("*"), *self.directory.quarantine.root.rglob("*")]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found if path.is_file()}

    def close(self) -> None:
        self.ingest.close()
        self.archive.close()
        self.directory.close()


def ref_of(tx: Connection, sop_instance_uid: str) -> InstanceRef:
    joined = instance.join(series).join(study)
    statement = (
        select(instance, study.c.study_instance_uid, series.c.series_instance_uid)
        .select_from(joined)
        .where(instance.c.sop_instance_uid == sop_instance_uid)
    )
    row = tx.execute(statement).one()._asdict()
    return InstanceRef(ground="test", **{name: row[name] for name in InstanceRef.__slots__ if name != "ground"})


def open_store(
    root: Path,
    database: Database,
    *,
    policy: IngestPolicy | None = None,
    sync: Sync | None = None,
    space: Space | None = None,
    node: str = "n1",
    **threads: int,
) -> Store:
    root.mkdir(exist_ok=True)
    directory = open_data_directory(root, database, sync=sync, space=space or Space(root=root, reserve_bytes=0))
    now = [NOON]
    keys = KeyRing(root.with_name(f"{root.name}.keys"), data_dir=root)
    log = AuditLog(database, keys, root, node=node, process=f"p-{node}", clock=lambda: now[0])
    archive = DiskArchive(directory)
    ingest = Ingest(
        database=database,
        archive=archive,
        directory=directory,
        append=log.append_many,
        policy=policy or IngestPolicy(),
        clock=lambda: now[0],
        custody=CUSTODY,
        **threads,
    )
    return Store(root, database, directory, archive, log, ingest, now)
