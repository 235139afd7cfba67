"""Who is asking: credentials in, a `Requester` out."""

from __future__ import annotations

from typing import Protocol

from consent.model import Requester
from gateway.auth.credentials import Credentials


class Authenticator(Protocol):
    """One way to prove who asks: an access token, or the session of somebody who works here."""

    async def authenticate(self, credentials: Credentials) -> Requester | None:
        """Who shows this credential, or None where it is not of this kind.

        Raises
        ------
        NotAuthenticated : it is of this kind and does not count
        """
