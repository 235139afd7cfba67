"""A real client over a real socket: Authlib's OAuth2Session on requests, as an outside facility would write it."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
import uvicorn
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT

from gateway.auth.metadata import TOKEN_PATH
from storage.log.event import Kind
from tests.conftest import free_port
from tests.gateway.auth.conftest import Clock


class ShortLived(PrivateKeyJWT):
    """Authlib's assertions live an hour by default, and repeat the first one's jti: SMART allows neither."""

    def __init__(self, clock: Clock, endpoint: str, key: Any, alg: str) -> None:
        super().__init__(endpoint, headers={"kid": key.kid, "typ": "JWT"}, alg=alg)
        self.clock = clock

    def sign(self, auth: Any, token_endpoint: str) -> Any:
        now = self.clock.seconds
        self.claims = {"jti": secrets.token_hex(8), "iat": now, "exp": now + 240}
        return super().sign(auth, token_endpoint)


@pytest.fixture
def served(sqlite_database, make_gateway) -> Iterator[Any]:
    """A gateway on a socket, in a thread of its own."""
    port = free_port()
    started: Queue[tuple[Any, uvicorn.Server]] = Queue()

    async def serve() -> None:
        async with make_gateway(sqlite_database, public_url=f"http://127.0.0.1:{port}") as gateway:
            config = uvicorn.Config(
                gateway.app, host="127.0.0.1", port=port, log_config=None, lifespan="off", ws="none"
            )
            server = uvicorn.Server(config)
            started.put((gateway, server))
            await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    gateway, server = started.get(timeout=20)
    while not server.started:
        time.sleep(0.01)
    yield gateway
    server.should_exit = True
    thread.join(20)


def session(served: Any, partner: Any, kind: str, alg: str) -> OAuth2Session:
    endpoint = served.public_url + TOKEN_PATH
    made = OAuth2Session(
        partner.client_id,
        partner.keys[kind],
        token_endpoint=endpoint,
        token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
        grant_type="client_credentials",
        scope="system/ImagingStudy.rs",
    )
    made.register_client_auth_method(ShortLived(served.clock, endpoint, partner.keys[kind], alg))
    return made


@pytest.mark.parametrize(("kind", "alg"), [("RSA", "RS384"), ("P-384", "ES384")])
def test_authlib_gets_uses_and_ends_a_token(served, partner, kind, alg) -> None:
    served.register(partner)
    with session(served, partner, kind, alg) as client:
        token = client.fetch_token(served.public_url + TOKEN_PATH, grant_type="client_credentials")
        assert (token["token_type"], token["scope"]) == ("Bearer", "system/ImagingStudy.rs")
        me = client.get(f"{served.public_url}/whoami")
        assert (me.status_code, me.json()["facility"]) == (200, partner.client_id)
        renewed = client.fetch_token(served.public_url + TOKEN_PATH, grant_type="client_credentials")
        assert renewed["access_token"] != token["access_token"]
        answer = client.revoke_token(f"{served.public_url}/oauth/revoke", token=renewed["access_token"])
        assert answer.status_code == 200
        served.confirm_epoch()
        assert client.get(f"{served.public_url}/whoami").status_code == 401
    assert len(served.events(Kind.TOKEN_ISSUED)) == 2
    assert len(served.events(Kind.TOKEN_REVOKED)) == 1


def test_authlib_s_own_assertions_live_too_long_and_are_refused(served, partner) -> None:
    served.register(partner)
    served.clock.now = 1_000_000 * int(time.time())  # Authlib reads the machine's clock
    endpoint = served.public_url + TOKEN_PATH
    key = partner.keys["P-384"]
    with session(served, partner, "P-384", "ES384") as client:
        client.register_client_auth_method(PrivateKeyJWT(endpoint, headers={"kid": key.kid}, alg="ES384"))
        with pytest.raises(Exception, match="invalid_client"):
            client.fetch_token(endpoint, grant_type="client_credentials")
