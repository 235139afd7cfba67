"""An audit log on each database, and made-up events of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.sealing import KeyRing

NOW = 1_790_000_000_000_000


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    (tmp_path / "data").mkdir()
    return KeyRing(tmp_path / "keys", data_dir=tmp_path / "data")


@pytest.fixture
def open_log(keys: KeyRing, tmp_path: Path) -> Callable[..., AuditLog]:
    """Open the log of a database as another process would."""

    def make(database: Database, node: str = "n1", **further: object) -> AuditLog:
        settings = {"process": f"p-{node}", "clock": lambda: NOW, **further}
        return AuditLog(database, keys, tmp_path / "data", node=node, **settings)

    return make


@pytest.fixture
def log(database: Database, open_log: Callable[..., AuditLog]) -> AuditLog:
    return open_log(database)


@pytest.fixture
def sqlite_log(sqlite_database: Database, open_log: Callable[..., AuditLog]) -> AuditLog:
    return open_log(sqlite_database)
