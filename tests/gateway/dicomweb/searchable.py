"""A gateway with the search routes over a made-up store, asked in process by facilities whose token is their name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from starlette.applications import Starlette

from consent.model import FOREVER, Purpose, Requester
from gateway import problems
from gateway.auth.credentials import Credentials
from gateway.auth.one_credential import OneCredential
from gateway.auth.refusals import Refusals
from gateway.coverage import Coverage
from gateway.dicomweb import qido
from gateway.epochs import Epochs
from gateway.request_context import RequestContext
from gateway.settings import Settings
from gateway.transactions import Exchange
from storage.database import Database
from tests.storage.catalog_world import CLINIC, World
from tests.storage.opened_store import NOON, open_store

PUBLIC_URL = "https://priors.example/hospital"


class ByName:
    """Takes a token for the name of the facility that shows it."""

    async def authenticate(self, credentials: Credentials) -> Requester | None:
        if credentials.token is None:
            return None
        return Requester(
            facility=credentials.token,
            facility_name=credentials.token,
            affiliated=False,
            purpose=Purpose.TREAT,
            proven="test",
            credential=credentials.token,
            expires_at=FOREVER,
            scopes=frozenset({"system/ImagingStudy.rs"}),
        )


@dataclass
class Searchable:
    world: World
    client: httpx2.AsyncClient

    async def get(self, path: str, *, facility: str = CLINIC, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers={"Authorization": f"Bearer {facility}", **named})


@asynccontextmanager
async def open_searchable(root: Path, database: Database, **settings: object) -> AsyncIterator[Searchable]:
    store = open_store(root / "data", database)
    exchange = Exchange(
        database=database,
        log=store.log,
        archives={store.archive.archive_id: store.archive},
        authenticator=OneCredential([ByName()], Refusals(store.log, lambda: NOON), cookie_name="session"),
        epochs=Epochs(database, interval_s=0.05, clock=lambda: NOON, overtime_s=60),
        coverage=Coverage(record=store.log.record, clock=lambda: NOON),
        clock=lambda: NOON,
        beat_s=0.001,
        unlabelled_is_ordinary=True,
    )
    app = Starlette(routes=qido.routes(exchange, Settings(public_url=PUBLIC_URL, **settings)))
    problems.install(app, beat_s=0.001, challenge="Bearer")
    app.add_middleware(RequestContext)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield Searchable(World(store), client)
    store.close()
