"""The authorization server over HTTP: tokens, revocation, keys and discovery.

Every refusal leaves on the beat, so that an unknown client, a wrong key and a replayed assertion look alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from gateway.auth import oauth_error
from gateway.auth.access_tokens import AccessTokens
from gateway.auth.authorization_server import AuthorizationServer
from gateway.auth.errors import InvalidClient, OAuthRefused, TemporarilyUnavailable
from gateway.auth.form import read_form
from gateway.auth.metadata import (
    KEYS_PATH,
    RESOURCE_PATH,
    REVOCATION_PATH,
    SERVER_PATH,
    SMART_PATH,
    TOKEN_PATH,
    Metadata,
)
from gateway.auth.refusals import Refusals
from gateway.beat import until_beat
from storage.errors import StorageError

Form = dict[str, str]
Body = dict[str, object]
PUBLISHED: Final = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}


def router(
    server: AuthorizationServer, tokens: AccessTokens, metadata: Metadata, refusals: Refusals, *, beat_s: float
) -> APIRouter:
    """The routes of the authorization server; `beat_s` is the beat of refusals in seconds.

    Requests carry `request_id` and `began` in their state: gateway/request_context.py.
    """
    routes = APIRouter()

    async def answer(request: Request, work: Callable[[Form, str], Awaitable[Body | None]]) -> Response:
        try:
            return _success(await work(await read_form(request), request.state.request_id))
        except OAuthRefused as caught:
            refusal = caught
        except (StorageError, SQLAlchemyError):
            refusal = TemporarilyUnavailable()
        if isinstance(refusal, InvalidClient):
            refusals.count("token", refusal.reason)
        await until_beat(request.state.began, beat_s)
        return oauth_error.answer(refusal, metadata.challenge())

    @routes.post(TOKEN_PATH)
    async def token(request: Request) -> Response:
        return await answer(request, server.issue)

    @routes.post(REVOCATION_PATH)
    async def revoke(request: Request) -> Response:
        return await answer(request, server.revoke)

    _publish(routes, KEYS_PATH, tokens.public_keys)
    _publish(routes, SERVER_PATH, metadata.authorization_server)
    _publish(routes, RESOURCE_PATH, metadata.protected_resource)
    _publish(routes, SMART_PATH, metadata.smart_configuration)
    _publish(routes, "/fhir" + SMART_PATH, metadata.smart_configuration)  # SMART looks for it below the FHIR base
    return routes


def _success(body: Body | None) -> Response:
    if body is None:
        return Response(headers=oauth_error.NEVER_STORED)
    return JSONResponse(body, headers=oauth_error.NEVER_STORED)


def _publish(routes: APIRouter, path: str, document: Callable[[], Body]) -> None:
    async def get() -> Response:
        return JSONResponse(document(), headers=PUBLISHED)

    routes.add_api_route(path, get, methods=["GET", "HEAD"], name=path)
