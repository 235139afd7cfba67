"""A store on each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.database import Database
from tests.storage.opened_store import Store, open_store


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Open a store on a database; `root` names another data directory."""
    opened: list[Store] = []

    def make(database: Database, root: str = "data", **settings: object) -> Store:
        opened.append(open_store(tmp_path / root, database, **settings))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(database: Database, new_store: Callable[..., Store]) -> Store:
    return new_store(database)


@pytest.fixture
def sqlite_store(sqlite_database: Database, new_store: Callable[..., Store]) -> Store:
    return new_store(sqlite_database)
