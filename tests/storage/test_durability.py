"""Bytes are on the disk before anybody is told, and a disk that failed once is not trusted again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from storage.database import Database
from storage.durable import Sync
from storage.errors import ReadOnly
from storage.outcome import Status
from storage.tables import instance
from tests.storage import made_up
from tests.storage.opened_store import Store


class WatchedSync(Sync):
    """Notes every call, and fails from the chosen one on."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail_files = 0
        self.fail_directories = 0
        self.number = errno.EIO

    def file(self, fd: int) -> None:
        self.calls.append(f"file {Path(f'/proc/self/fd/{fd}').readlink().name}")
        if self.fail_files:
            raise OSError(self.number, os.strerror(self.number))
        super().file(fd)

    def directory(self, path: Path) -> None:
        self.calls.append(f"directory {path.name}")
        if self.fail_directories:
            raise OSError(self.number, os.strerror(self.number))
        super().directory(path)


@pytest.fixture
def sync() -> WatchedSync:
    return WatchedSync()


@pytest.fixture
def watched(sqlite_database: Database, new_store: Callable[..., Store], sync: WatchedSync) -> Store:
    return new_store(sqlite_database, sync=sync)


def test_file_and_directories_are_flushed_before_the_commit(watched: Store, sync: WatchedSync) -> None:
    sync.calls.clear()

    def committed(_connection: Connection) -> None:
        sync.calls.append("commit")

    event.listen(watched.database._write_engine, "commit", committed)
    (outcome,) = watched.store(made_up.instance())
    name = watched.rows(instance)[0]["digest"].hex()
    kinds = [call.split()[0] if call.startswith("file") else call for call in sync.calls]
    # its bytes; the names of the two new directories; its own name; only then the catalog
    assert kinds == ["file", "directory objects", f"directory {name[:2]}", f"directory {name[2:4]}", "commit"]
    assert outcome.status is Status.STORED


def test_a_known_directory_is_not_flushed_into_its_parents_again(watched: Store, sync: WatchedSync) -> None:
    watched.store(*[made_up.instance(number) for number in range(1, 40)])
    assert sync.calls.count("directory objects") == len({r["digest"].hex()[:2] for r in watched.rows(instance)})


@pytest.mark.parametrize("where", ["fail_files", "fail_directories"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_failed_flush_makes_the_node_read_only_and_is_never_repeated(
    watched: Store, sync: WatchedSync, where: str, number: int
) -> None:
    watched.store(made_up.instance(1))
    setattr(sync, where, 1)
    sync.number = number
    outcomes = watched.store(made_up.instance(2))
    assert [(one.status, one.failure_reason) for one in outcomes] == [(Status.FAILED, 0x0110)]
    setattr(sync, where, 0)
    calls = len(sync.calls)
    assert [one.status for one in watched.store(made_up.instance(3), made_up.instance(4))] == [Status.FAILED] * 2
    assert len(sync.calls) == calls
    assert watched.directory.writability.fault
    with pytest.raises(ReadOnly):
        watched.ingest.stage()
    # what was stored before is still given
    assert watched.read_back(f"{made_up.SERIES}.1") == made_up.instance(1)
    assert [one.status for one in watched.store(made_up.instance(1))] == [Status.DUPLICATE]
    assert len(watched.rows(instance)) == 1
    assert watched.fsck().problems == []


def test_a_full_disk_refuses_and_recovers(watched: Store, sync: WatchedSync) -> None:
    sync.fail_files, sync.number = 1, errno.ENOSPC
    (outcome,) = watched.store(made_up.instance(1))
    assert (outcome.status, outcome.failure_reason) == (Status.FAILED, 0xA700)
    sync.fail_files = 0
    assert [one.status for one in watched.store(made_up.instance(1))] == [Status.STORED]
    assert watched.fsck().problems == []


def test_a_database_that_cannot_commit_acknowledges_nothing(watched: Store) -> None:
    broken = True

    def refuse(_connection: Connection) -> None:
        if broken:
            raise OSError(errno.ENOSPC, "no space")

    event.listen(watched.database._write_engine, "commit", refuse)
    outcomes = watched.store(made_up.instance(1), made_up.instance(2))
    assert {one.status for one in outcomes} == {Status.FAILED}
    broken = False
    assert watched.rows(instance) == []
    assert watched.fsck().ok  # the objects are orphans, which is no problem
    assert {one.status for one in watched.store(made_up.instance(1), made_up.instance(2))} == {Status.STORED}
    assert watched.fsck().counts["orphans"] == 0
