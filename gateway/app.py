"""The composition root: settings become parts, parts become routes. The only place that names implementations."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from socket import gethostbyname
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Router
from starlette.types import ASGIApp

import gateway.auth.tables  # noqa: F401 - the metadata must know every table
from gateway import health, lifecycle, log_lines, log_routes, problems, serve
from gateway.auth import oauth
from gateway.auth.access_tokens import AccessTokens, signing_key
from gateway.auth.authorization_server import AuthorizationServer
from gateway.auth.bearer import BearerAuthenticator
from gateway.auth.client_assertion import ClientAuthentication
from gateway.auth.facility_keys import FacilityKeys, open_client
from gateway.auth.metadata import Metadata
from gateway.auth.one_credential import OneCredential
from gateway.auth.passwords import Passwords
from gateway.auth.refusals import Refusals
from gateway.auth.session import SessionAuthenticator
from gateway.auth.session_cookie import SessionCookie
from gateway.auth.sign_in import SignIn
from gateway.coverage import Coverage
from gateway.desk import Desk
from gateway.dicomweb import qido, wado
from gateway.epochs import Epochs
from gateway.errors import NotAllowed
from gateway.jobs import Jobs
from gateway.pages import routes as pages
from gateway.pages.door import Door
from gateway.parts import Parts
from gateway.request_context import ByPath, RequestContext
from gateway.transactions import Exchange
from storage.archive.disk import DiskArchive
from storage.errors import StorageError

OVERTIME_S = 3600  # a download begun with a valid token may end after it; its consent is confirmed all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Everything that says who asks."""

    tokens: AccessTokens
    server: AuthorizationServer
    metadata: Metadata
    refusals: Refusals
    cookie: SessionCookie
    one: OneCredential
    close: Callable[[], Awaitable[None]]


def make_gate(parts: Parts, epoch: Callable[[], int]) -> Gate:
    """Authorization server, resource server and sessions over the same keys and the same record."""
    settings, database, clock = parts.settings, parts.database, parts.clock
    metadata = Metadata(public_url=settings.public_url, facility_name=settings.facility_name)
    tokens = AccessTokens(signing_key(parts.keys), issuer=settings.public_url, life_s=settings.access_token_s)
    http = open_client()
    clients = ClientAuthentication(database, FacilityKeys(http, clock), audience=metadata.token_url, clock=clock)
    server = AuthorizationServer(
        database=database,
        log=parts.log,
        clients=clients,
        tokens=tokens,
        revocation_url=metadata.revocation_url,
        clock=clock,
    )
    refusals, cookie = Refusals(parts.log, clock), SessionCookie(settings.public_url)
    bearer = BearerAuthenticator(tokens, database, epoch=epoch, clock=clock)
    one = OneCredential([bearer], refusals, cookie_name=cookie.name)
    return Gate(
        tokens=tokens,
        server=server,
        metadata=metadata,
        refusals=refusals,
        cookie=cookie,
        one=one,
        close=http.aclose,
    )


def make_exchange(parts: Parts, gate: Gate, epochs: Epochs, coverage: Coverage) -> Exchange:
    """The transactions of outside facilities."""
    settings = parts.settings
    archive = DiskArchive(parts.directory)
    return Exchange(
        database=parts.database,
        log=parts.log,
        archives={archive.archive_id: archive},
        authenticator=gate.one,
        epochs=epochs,
        coverage=coverage,
        clock=parts.clock,
        beat_s=settings.refusal_beat_ms / 1000,
        unlabelled_is_ordinary=settings.unlabelled_is_ordinary,
    )


def make_door(parts: Parts, gate: Gate) -> Door:
    """Where staff come in."""
    sessions = SessionAuthenticator(parts.database, clock=parts.clock, facility_name=parts.settings.facility_name)
    sign_in = SignIn(parts.database, parts.log, Passwords(), gate.refusals, clock=parts.clock)
    return Door(
        sessions=sessions,
        sign_in=sign_in,
        cookie=gate.cookie,
        refusals=gate.refusals,
        public_url=parts.settings.public_url,
    )


def make_app(parts: Parts) -> ASGIApp:
    """The gateway over opened parts."""
    settings = parts.settings
    beat_s = settings.refusal_beat_ms / 1000
    interval_s = settings.confirm_epoch_ms / 1000
    epochs = Epochs(parts.database, interval_s=interval_s, clock=parts.clock, overtime_s=OVERTIME_S)
    coverage = Coverage(record=parts.log.record, clock=parts.clock)
    gate = make_gate(parts, epochs.known)
    exchange = make_exchange(parts, gate, epochs, coverage)
    prefix = urlsplit(settings.public_url).path
    app = FastAPI(
        title="OpenPriors",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(parts, epochs, coverage, Jobs(parts, gate.refusals), gate.close),
    )
    for router in (
        pages.router(Desk(database=parts.database, log=parts.log, clock=parts.clock), make_door(parts, gate), settings),
        oauth.router(gate.server, gate.tokens, gate.metadata, gate.refusals, beat_s=beat_s),
        log_routes.router(settings.data / "log"),
        health.router(parts.database, parts.directory, parts.log),
    ):
        app.include_router(router, prefix=prefix)
    # frames and searches are asked for by the thousand: they skip what FastAPI does around a route
    resources = [*wado.routes(exchange, settings), *qido.routes(exchange, settings)]
    dicomweb = Starlette(routes=[Mount(prefix, app=Router(resources, redirect_slashes=False))])
    dicomweb.router.redirect_slashes = False  # a redirect would be built from the Host field of whoever asks
    for part in (app, dicomweb):
        problems.install(part, beat_s=beat_s, challenge=gate.metadata.challenge())
    return RequestContext(ByPath(app, {f"{prefix}/dicom-web": dicomweb}))


def _lifespan(
    parts: Parts, epochs: Epochs, coverage: Coverage, jobs: Jobs, close: Callable[[], Awaitable[None]]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        run = "run-" + parts.presence.name
        await parts.database.commit(lifecycle.started, parts.log, parts.settings, parts.clock(), run)
        await epochs.start()
        coverage.start()
        jobs.start()
        yield
        await epochs.stop()
        await coverage.stop()
        with suppress(StorageError):
            await parts.database.commit(lifecycle.stopped, parts.log, parts.clock(), run)
        await jobs.stop()
        await close()

    return lifespan


def run_server(parts: Parts, host: str, port: int) -> None:
    """Serve until told to stop.

    Raises
    ------
    NotAllowed : plain HTTP would leave this machine without a proxy that the settings name (law 11)
    """
    if not ip_address(gethostbyname(host)).is_loopback and parts.settings.trusted_proxy is None:
        raise NotAllowed(
            "Plain HTTP is for loopback; to listen elsewhere, name the TLS proxy in OPENPRIORS_TRUSTED_PROXY."
        )
    settings = parts.settings
    if not settings.public_url:
        settings = settings.model_copy(update={"public_url": f"http://{host}:{port}"})
    log_lines.configure(sys.stderr)
    app = make_app(replace(parts, settings=settings))
    serve.run(app, host=host, port=port, trusted_proxy=settings.trusted_proxy)
