"""What can go wrong with consent, as one tree.

ConsentError
├── UnknownConsent
├── UnknownFacility
├── IncompleteConsent
├── NotInThatState
└── ChangedMeanwhile

The docstring of a class is its default message. No message holds patient data.
"""

from __future__ import annotations


class ConsentError(Exception):
    """The consent could not be recorded or changed."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").strip())


class UnknownConsent(ConsentError):
    """There is no consent with this number."""


class UnknownFacility(ConsentError):
    """There is no facility with this client_id."""


class IncompleteConsent(ConsentError):
    """The consent lacks something that it must say."""


class NotInThatState(ConsentError):
    """The consent is not in a state that allows this change."""


class ChangedMeanwhile(ConsentError):
    """Somebody else changed this consent in the meantime; look at it again."""
