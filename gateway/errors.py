"""What the edge itself refuses, as one tree beside those of storage and consent.

GatewayError
├── BadRequest
├── NotAvailable        absent and forbidden alike (law 4)
├── PartHidden          the one exception (law 5)
├── NoSuchFrame
├── NotAcceptable       content negotiation finds nothing (PS3.18 8.7.8)
├── TooMuch
└── NotAllowed

Authentication has its own tree in gateway/auth/errors.py.
The docstring of a class is its default message. No message holds patient data.
"""

from __future__ import annotations


class GatewayError(Exception):
    """The request could not be served."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").strip())


class BadRequest(GatewayError):
    """The request could not be understood."""


class NotAvailable(GatewayError):
    """Nothing is available to you under this address."""


class PartHidden(GatewayError):
    """You may see a part of this study only, so it cannot be retrieved as a whole; ask for its series one by one."""


class NoSuchFrame(GatewayError):
    """The instance has no frame with that number; frames are counted from 1."""


class NotAcceptable(GatewayError):
    """None of the media types asked for can be sent here."""


class TooMuch(GatewayError):
    """The request asks for more at once than is served; split it."""


class NotAllowed(GatewayError):
    """Your account is not allowed to do this."""
