"""Both authenticators hold to the contract."""

from __future__ import annotations

import pytest

from gateway.auth.credentials import Credentials
from gateway.auth.replay import revoke_token
from tests.contracts.authenticator import AuthenticatorContract, Proof
from tests.gateway.auth.test_staff import EMAIL, PASSWORD, add


class TokenProof(Proof):
    of_another_kind = Credentials(session="a" * 43)

    def __init__(self, gateway, token: str, facility: str) -> None:
        self.gateway, self.authenticator, self.facility = gateway, gateway.bearer, facility
        self.credentials = Credentials(token=token)

    async def end(self) -> None:
        requester = await self.authenticator.authenticate(self.credentials)
        await self.gateway.database.commit(revoke_token, requester.credential, requester.expires_at)


class SessionProof(Proof):
    of_another_kind = Credentials(token="a.b.c")

    def __init__(self, gateway, value: str) -> None:
        self.gateway, self.authenticator, self.facility = gateway, gateway.sessions, "staff"
        self.credentials = Credentials(session=value)

    async def end(self) -> None:
        await self.gateway.sign_in.sign_out(await self.authenticator.session(self.credentials), request="r")


class TestBearer(AuthenticatorContract):
    @pytest.fixture
    async def proof(self, gateway_on_both, partner) -> TokenProof:
        facility = gateway_on_both.register(partner)
        return TokenProof(gateway_on_both, await gateway_on_both.token(partner), facility.client_id)


class TestSession(AuthenticatorContract):
    @pytest.fixture
    async def proof(self, gateway_on_both) -> SessionProof:
        add(gateway_on_both)
        value, _ = await gateway_on_both.sign_in.sign_in(EMAIL, PASSWORD, request="r")
        return SessionProof(gateway_on_both, value)
