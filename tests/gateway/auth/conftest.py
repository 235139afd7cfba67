"""A gateway with one protected page, facilities that hold real keys, and a clock that stands until it is moved."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import Connection, select

from consent import parties
from consent.model import Provenance, Purpose
from consent.parties import READ_SCOPE, Facility, FacilityState
from gateway.auth import oauth
from gateway.auth.access_tokens import AccessTokens, signing_key
from gateway.auth.authorization_server import AuthorizationServer
from gateway.auth.bearer import BearerAuthenticator
from gateway.auth.client_assertion import ASSERTION_TYPE, ClientAuthentication
from gateway.auth.errors import AuthError
from gateway.auth.facility_keys import FacilityKeys, open_client
from gateway.auth.metadata import Metadata
from gateway.auth.one_credential import OneCredential
from gateway.auth.passwords import Passwords
from gateway.auth.refusals import Refusals
from gateway.auth.session import SessionAuthenticator
from gateway.auth.session_cookie import SessionCookie
from gateway.auth.sign_in import SignIn
from gateway.request_context import RequestContext
from storage import epoch
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.log.entry import parse
from storage.log.event import Kind
from storage.sealing import KeyRing
from storage.tables import log_event
from tests.gateway.auth.tokens import sign_by_hand

START = 1_790_000_000_000_000
PUBLIC_URL = "https://gateway.hospital.example"
TOKEN_URL = f"{PUBLIC_URL}/oauth/token"


class Clock:
    """The present instant, which stands still until it is moved."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    @property
    def seconds(self) -> int:
        return self.now // 1_000_000

    def forward(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


class Partner:
    """An outside facility: its private keys by kind, and the assertions it makes with them."""

    def __init__(self, clock: Clock, keys: dict[str, Any]) -> None:
        self.clock = clock
        self.keys = keys
        self.client_id = ""

    def jwks(self, *kinds: str) -> dict[str, Any]:
        return {"keys": [self.keys[kind].as_dict(private=False) for kind in kinds or self.keys]}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a proper assertion; a change to None leaves a claim out."""
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": TOKEN_URL,
            "exp": self.clock.seconds + 240,
            "iat": self.clock.seconds,
            "jti": secrets.token_hex(8),
        } | changed
        return {name: value for name, value in claims.items() if value is not None}

    def assertion(self, alg: str = "ES384", *, header: dict[str, Any] | None = None, **changed: Any) -> str:
        return self.sign(json.dumps(self.claims(**changed)).encode(), alg, header=header)

    def sign(self, payload: bytes, alg: str = "ES384", *, header: dict[str, Any] | None = None, key: Any = None) -> str:
        key = key or self.keys["RSA" if alg[:2] in {"RS", "PS"} else {"ES256": "P-256", "ES384": "P-384"}[alg]]
        full = {"alg": alg, "kid": key.kid, "typ": "JWT"} | (header or {})
        return sign_by_hand(full, payload, key)


class Gateway:
    """One process of the gateway over a database that others may share."""

    def __init__(
        self,
        database: Database,
        directory: Path,
        clock: Clock,
        *,
        tls: Any = None,
        public_url: str = PUBLIC_URL,
        node: str = "n1",
        smart: tuple[str, ...] = (),
        fetch_s: float = 5.0,
    ) -> None:
        self.database, self.clock, self.public_url = database, clock, public_url
        data = directory / "data"
        data.mkdir(exist_ok=True)
        ring = KeyRing(directory / "keys", data_dir=data)
        self.log = AuditLog(database, ring, data, node=node, process=node, clock=clock)
        self.tokens = AccessTokens(signing_key(ring), issuer=public_url, life_s=300)
        self.metadata = Metadata(public_url=public_url, facility_name="This hospital", smart_capabilities=smart)
        self.http = open_client(tls)
        self.refusals = Refusals(self.log, clock)
        self.facility_keys = FacilityKeys(self.http, clock, fetch_s=fetch_s)
        clients = ClientAuthentication(database, self.facility_keys, audience=self.metadata.token_url, clock=clock)
        self.server = AuthorizationServer(
            database=database,
            log=self.log,
            clients=clients,
            tokens=self.tokens,
            revocation_url=self.metadata.revocation_url,
            clock=clock,
        )
        self.confirmed = 1  # the epoch as the last look at the database saw it
        self.bearer = BearerAuthenticator(self.tokens, database, epoch=lambda: self.confirmed, clock=clock)
        self.cookie = SessionCookie(public_url)
        self.sessions = SessionAuthenticator(database, facility_name="This hospital", clock=clock)
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.sign_in = SignIn(database, self.log, self.passwords, self.refusals, clock=clock, beat_s=0.01)
        self.gate = OneCredential([self.bearer, self.sessions], self.refusals, cookie_name=self.cookie.name)
        self.app = self._app()

    def confirm_epoch(self) -> None:
        """What the gateway does several times a second."""
        self.confirmed = self.database.read(epoch.current)

    def register(self, partner: Partner, *, kinds: tuple[str, ...] = (), **details: Any) -> Facility:
        keys = {} if "jwks_uri" in details else {"jwks": partner.jwks(*kinds)}
        options = {"name": "Outside clinic", "state": FacilityState.ACTIVE, **keys, **details}
        facility = self.database.write(parties.add, self.log, self.provenance(), **options)
        partner.client_id = facility.client_id
        return facility

    def provenance(self, by: str = "admin@hospital.example") -> Provenance:
        return Provenance(by=by, at=self.clock(), request=secrets.token_hex(4))

    def events(self, kind: Kind) -> list[dict[str, Any]]:
        """The public part of every recorded event of a kind."""

        def read(tx: Connection) -> list[bytes]:
            return [bytes(row.body) for row in tx.execute(select(log_event).order_by(log_event.c.seq))]

        bodies = [parse(body) for body in self.database.read(read)]
        return [dict(body.plain) for body in bodies if body.kind is kind]

    async def close(self) -> None:
        await self.http.aclose()
        self.passwords.close()

    def browser(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url=self.public_url)

    async def ask_token(self, assertion: str, **fields: str) -> httpx2.Response:
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        async with self.browser() as browser:
            return await browser.post("/oauth/token", data=form | {"client_assertion": assertion} | fields)

    async def token(self, partner: Partner, alg: str = "ES384", **fields: str) -> str:
        answer = await self.ask_token(partner.assertion(alg), **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def whoami(self, *, headers: Any = None, path: str = "/whoami", token: str | None = None) -> httpx2.Response:
        given = headers if token is None else {"Authorization": f"Bearer {token}"}
        async with self.browser() as browser:
            return await browser.get(path, headers=given)

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.include_router(
            oauth.router(self.server, self.tokens, self.metadata, self.refusals, beat_s=0.005),
        )

        @app.get("/whoami")
        async def whoami(request: Request) -> JSONResponse:
            requester = await self.gate.authenticate(request)
            shown = ("facility", "facility_name", "affiliated", "proven", "person", "credential", "expires_at")
            told = {name: getattr(requester, name) for name in shown}
            return JSONResponse({**told, "purpose": requester.purpose.value, "scopes": sorted(requester.scopes)})

        @app.exception_handler(AuthError)
        async def refuse(_request: Request, error: Exception) -> JSONResponse:
            return JSONResponse(
                {"detail": str(error)}, status_code=401, headers={"WWW-Authenticate": self.metadata.challenge()}
            )

        app.add_middleware(RequestContext)
        return app


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def partner_keys() -> dict[str, Any]:
    return {
        "RSA": RSAKey.generate_key(2048, parameters={"kid": "rsa-1"}),
        "P-256": ECKey.generate_key("P-256", parameters={"kid": "p256-1"}),
        "P-384": ECKey.generate_key("P-384", parameters={"kid": "p384-1"}),
    }


@pytest.fixture(scope="session")
def system_tls() -> ssl.SSLContext:
    """The system's certificate authorities, read once."""
    return ssl.create_default_context()


@pytest.fixture
def partner(clock: Clock, partner_keys: dict[str, Any]) -> Partner:
    return Partner(clock, partner_keys)


@pytest.fixture
def make_gateway(tmp_path: Path, clock: Clock, system_tls: ssl.SSLContext) -> Callable[..., Any]:
    """Open a process of the gateway over a database, for as long as the block runs."""

    @asynccontextmanager
    async def make(database: Database, **options: Any) -> AsyncIterator[Gateway]:
        gateway = Gateway(database, tmp_path, clock, **{"tls": system_tls, **options})
        try:
            yield gateway
        finally:
            await gateway.close()

    return make


@pytest.fixture
async def gateway(make_gateway: Callable[..., Any], sqlite_database: Database) -> AsyncIterator[Gateway]:
    async with make_gateway(sqlite_database) as made:
        yield made


@pytest.fixture
async def gateway_on_both(make_gateway: Callable[..., Any], database: Database) -> AsyncIterator[Gateway]:
    """The same test on SQLite and on PostgreSQL."""
    async with make_gateway(database) as made:
        yield made


@pytest.fixture
def registered(gateway: Gateway, partner: Partner) -> Facility:
    return gateway.register(
        partner, purposes=(Purpose.TREAT, Purpose.HPAYMT), scopes=(READ_SCOPE,), name="Outside clinic"
    )


class Watcher:
    """A listener that counts who connects, for addresses that nobody may ask."""

    def __init__(self) -> None:
        self.connections = 0
        self.url = ""

    async def _connected(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()

    @asynccontextmanager
    async def listening(self, host: str = "127.0.0.1") -> AsyncIterator[Watcher]:
        server = await asyncio.start_server(self._connected, host, 0)
        self.url = f"http://{host}:{server.sockets[0].getsockname()[1]}/jwks.json"
        async with server:
            yield self


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    async with Watcher().listening() as listening:
        yield listening
