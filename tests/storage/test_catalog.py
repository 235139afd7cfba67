"""The catalog on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.contracts.catalog import CatalogContract
from tests.storage.catalog_world import World
from tests.storage.opened_store import Store


class TestCatalog(CatalogContract):
    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)
