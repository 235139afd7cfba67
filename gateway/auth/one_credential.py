"""Exactly one credential decides who asks; what does not count is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import HTTPConnection

from consent.model import Requester
from gateway.auth import Authenticator
from gateway.auth.credentials import Credentials, read_credentials
from gateway.auth.errors import NotAuthenticated, Reason
from gateway.auth.refusals import Refusals

PLACE: Final = "request"


class OneCredential:
    """Asks each kind of authenticator in turn about the one credential of a request.

    Parameters
    ----------
    cookie_name : the name of the session cookie
    """

    def __init__(self, authenticators: Sequence[Authenticator], refusals: Refusals, *, cookie_name: str) -> None:
        self._authenticators = authenticators
        self._refusals = refusals
        self._cookie_name = cookie_name

    async def authenticate(self, request: HTTPConnection) -> Requester:
        """Who asks.

        Raises
        ------
        NotAuthenticated : nothing was shown, more than one thing, or something that does not count
        """
        try:
            return await self._ask(request.scope)
        except NotAuthenticated as refusal:
            self._refusals.count(PLACE, refusal.reason)
            raise

    async def _ask(self, scope: Mapping[str, Any]) -> Requester:
        credentials: Credentials = read_credentials(scope, self._cookie_name)
        for authenticator in self._authenticators:
            requester = await authenticator.authenticate(credentials)
            if requester is not None:
                return requester
        raise NotAuthenticated(Reason.NONE_SHOWN)
