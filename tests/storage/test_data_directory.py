"""A data directory belongs to one database, and a start leaves nothing of dead processes behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import schema
from storage.data_directory import IDENTITY, open_data_directory
from storage.database import Database
from storage.durable import Writability
from storage.errors import StoreFull, WrongStore
from storage.outcome import Status
from storage.space import Space
from tests.conftest import ROOT
from tests.storage import made_up
from tests.storage.opened_store import Store


def reopen(store: Store) -> None:
    open_data_directory(store.root, store.database, space=Space(root=store.root, reserve_bytes=0)).close()


def test_it_can_be_opened_again_and_by_several_at_once(store: Store) -> None:
    reopen(store)
    reopen(store)
    assert store.store(made_up.instance())[0].status is Status.STORED


def test_another_directory_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(WrongStore, match="disk mounted"):
        open_data_directory(tmp_path / "empty", store.database)
    assert not (tmp_path / "empty").exists()


def test_a_directory_of_another_database_is_refused(store: Store, new_database: Callable, tmp_path: Path) -> None:
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    other.write(schema.install, "another-store")
    with pytest.raises(WrongStore, match="another database"):
        open_data_directory(store.root, other)
    other.close()


def test_a_lost_identity_is_refused(store: Store) -> None:
    (store.root / IDENTITY).unlink()
    with pytest.raises(WrongStore):
        reopen(store)


def test_a_start_that_died_half_way_is_finished(database: Database, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / f"{IDENTITY}.0123456789abcdef").write_text("test-st")
    open_data_directory(root, database).close()
    assert (root / IDENTITY).read_text() == "test-store\n"
    open_data_directory(root, database).close()


def test_what_dead_processes_left_is_swept_and_what_living_ones_have_is_not(store: Store) -> None:
    staged = store.ingest.stage()
    staged.write(b"on its way")
    code = (
        "import os, sys; from pathlib import Path; from storage.durable import Writability;"
        "from storage.space import Space; from storage.spool import Room, Spool;"
        "root = Path(sys.argv[1]);"
        "room = Room(writability=Writability(), space=Space(root=root), object_limit_bytes=1 << 20);"
        "Spool(root / 'tmp', room).stage([b'left behind']); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(store.root)], check=False, env=environment)
    assert len(list((store.root / "tmp").rglob("*/*"))) == 2
    reopen(store)
    assert list((store.root / "tmp").rglob("*/*")) == [staged.path]
    staged.remove()


def test_images_are_refused_before_the_disk_is_full(sqlite_database: Database, new_store: Callable[..., Store]) -> None:
    crowded = new_store(sqlite_database, space=Full(root=sqlite_database_root(sqlite_database)))
    (outcome,) = crowded.store(made_up.instance())
    assert (outcome.status, outcome.failure_reason) == (Status.FAILED, 0xA700)
    staged = crowded.ingest.stage()
    with pytest.raises(StoreFull):
        staged.write(b"more")
    staged.remove()
    assert crowded.fsck().problems == []


def sqlite_database_root(database: Database) -> Path:
    return Path(str(database.url.database)).parent


def test_the_floor_counts_what_is_to_come(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    open_space = Space(root=tmp_path, floor_bytes=0, floor_share=0)
    open_space.require(free // 2)
    with pytest.raises(StoreFull):
        open_space.require(free + (1 << 30))
    # a floor above half of the disk would refuse everything on a small one
    total = os.statvfs(tmp_path)
    floor = min(1 << 60, total.f_blocks * total.f_frsize // 2)
    with pytest.raises(StoreFull):
        Space(root=tmp_path, floor_bytes=1 << 60).require(max(free - floor, 0) + (1 << 30))


class Full(Space):
    def require(self, size_bytes: int = 0) -> None:
        raise StoreFull


def test_the_reserve_is_laid_and_given_back(database: Database, tmp_path: Path) -> None:
    space = Space(root=tmp_path / "data", reserve_bytes=1 << 20, floor_bytes=0, floor_share=0)
    directory = open_data_directory(tmp_path / "data", database, space=space)
    assert (tmp_path / "data" / "reserve").stat().st_blocks * 512 >= 1 << 20
    space.give_reserve_back()
    assert not (tmp_path / "data" / "reserve").exists()
    directory.close()
    assert Writability().fault is None
