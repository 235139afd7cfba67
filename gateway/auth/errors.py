"""What authentication refuses, as one tree.

AuthError
├── NotAuthenticated        no credential, or one that does not count: one sentence for every cause
├── SignInRefused           unknown address, wrong password, closed account, too many tries: told alike
├── ForgedRequest           a form that does not come from our own page
├── SignInBusy              too many passwords are being checked at this moment
├── StaffRefused            a staff account cannot be made or changed like this
│   ├── UnknownStaff
│   └── StaffExists
├── BadKeySet               what a facility publishes as its keys is no key set
└── OAuthRefused            answered on /oauth alone, as RFC 6749 5.2 wants: oauth_error.py
    ├── InvalidRequest
    ├── InvalidClient
    ├── InvalidGrant
    ├── InvalidScope
    ├── UnsupportedGrantType
    └── TemporarilyUnavailable

The docstring of a class is its default message. No message says which of several causes it was where that would help
somebody who guesses; the cause is a `Reason`, which is counted and never sent.
"""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why a credential did not count. For the record of refusals, never for the one who was refused."""

    NONE_SHOWN = "none-shown"
    SEVERAL = "several"
    IN_QUERY = "in-query"
    SCHEME = "scheme"
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    ALGORITHM = "algorithm"
    CRITICAL_HEADER = "critical-header"
    TYPE = "type"
    UNKNOWN_CLIENT = "unknown-client"
    INACTIVE = "inactive"
    UNKNOWN_KEY = "unknown-key"
    KEYS_AWAY = "keys-away"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    TIME = "time"
    CLAIMS = "claims"
    BOUND = "bound"
    REPLAYED = "replayed"
    EXPIRED = "expired"
    REVOKED = "revoked"
    NO_LONGER_ALLOWED = "no-longer-allowed"
    UNKNOWN_STAFF = "unknown-staff"
    TOO_MANY = "too-many"


class AuthError(Exception):
    """The request could not be authenticated."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").strip())


class NotAuthenticated(AuthError):
    """A valid access token, or the session of somebody who works here, is needed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__()
        self.reason = reason


class SignInRefused(AuthError):
    """The address and the password do not belong together, or there were too many tries; wait a while and try again."""


class ForgedRequest(AuthError):
    """The form did not come from a page of this gateway that is still valid; open the page again and repeat."""


class SignInBusy(AuthError):
    """Too many people are signing in at this moment; try again in a few seconds."""


class StaffRefused(AuthError):
    """The staff account cannot be made or changed like this."""


class UnknownStaff(StaffRefused):
    """There is no active staff account with this address."""


class StaffExists(StaffRefused):
    """There is already a staff account with this address."""


class BadKeySet(AuthError):
    """What should be a set of public keys is none (RFC 7517 5)."""


class OAuthRefused(AuthError):
    """The authorization server refused the request (RFC 6749 5.2)."""


class InvalidRequest(OAuthRefused):
    """The request is malformed."""


class InvalidClient(OAuthRefused):
    """The client could not be authenticated."""

    def __init__(self, reason: Reason) -> None:
        super().__init__()
        self.reason = reason


class InvalidGrant(OAuthRefused):
    """What the request asks for is not open to this client."""


class InvalidScope(OAuthRefused):
    """The scope is unknown, or is more than this client may have."""


class UnsupportedGrantType(OAuthRefused):
    """Only client_credentials is served here."""


class TemporarilyUnavailable(OAuthRefused):
    """The request could not be recorded, so nothing was given; try again later."""
