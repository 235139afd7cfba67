"""What every way to prove who asks must hold to: one suite for access tokens and for staff sessions."""

from __future__ import annotations

import abc
from typing import Any

import pytest

from gateway.auth import Authenticator
from gateway.auth.bearer import is_revoked
from gateway.auth.credentials import NOTHING, Credentials
from gateway.auth.errors import NotAuthenticated


class AuthenticatorContract:
    """Subclass it with a `proof` fixture: something like `Proof` below, over a gateway with a clock."""

    async def test_nothing_shown_is_somebody_else_s_question(self, proof: Any) -> None:
        assert await proof.authenticator.authenticate(NOTHING) is None

    async def test_another_kind_of_credential_is_somebody_else_s_question(self, proof: Any) -> None:
        assert await proof.authenticator.authenticate(proof.of_another_kind) is None

    async def test_a_good_credential_names_who_asks_until_when(self, proof: Any) -> None:
        requester = await proof.authenticator.authenticate(proof.credentials)
        assert requester.facility == proof.facility
        assert requester.expires_at > proof.gateway.clock()
        assert requester.proven
        assert await proof.authenticator.authenticate(proof.credentials) == requester

    async def test_what_names_the_credential_in_the_record_is_not_the_credential(self, proof: Any) -> None:
        requester = await proof.authenticator.authenticate(proof.credentials)
        secret = proof.credentials.token or proof.credentials.session
        assert requester.credential
        assert secret not in repr(requester)
        kind = "token" if proof.credentials.token else "session"
        with pytest.raises(NotAuthenticated):
            await proof.authenticator.authenticate(Credentials(**{kind: requester.credential}))

    async def test_a_credential_is_over_at_its_hour(self, proof: Any) -> None:
        requester = await proof.authenticator.authenticate(proof.credentials)
        proof.gateway.clock.now = requester.expires_at
        with pytest.raises(NotAuthenticated):
            await proof.authenticator.authenticate(proof.credentials)

    async def test_a_credential_that_was_ended_does_not_count(self, proof: Any) -> None:
        requester = await proof.authenticator.authenticate(proof.credentials)
        assert not proof.gateway.database.read(is_revoked, requester)
        await proof.end()
        proof.gateway.confirm_epoch()
        assert proof.gateway.database.read(is_revoked, requester)
        with pytest.raises(NotAuthenticated):
            await proof.authenticator.authenticate(proof.credentials)

    async def test_a_credential_that_was_changed_does_not_count(self, proof: Any) -> None:
        for changed in proof.changed():
            with pytest.raises(NotAuthenticated):
                await proof.authenticator.authenticate(changed)


class Proof(abc.ABC):
    """A good credential of one kind, and how it is ended. `authenticator` is an `Authenticator`."""

    authenticator: Authenticator
    credentials: Credentials
    of_another_kind: Credentials
    gateway: Any
    facility: str

    @abc.abstractmethod
    async def end(self) -> None:
        """End the credential before its time."""

    def changed(self) -> list[Credentials]:
        """The credential with one character changed, in several places."""
        kind = "token" if self.credentials.token else "session"
        secret = getattr(self.credentials, kind)
        places = (0, len(secret) // 3, len(secret) // 2, len(secret) - 3)
        swapped = [secret[:at] + ("A" if secret[at] != "A" else "B") + secret[at + 1 :] for at in places]
        return [Credentials(**{kind: value}) for value in (*swapped, secret[:-1], secret + "A")]
