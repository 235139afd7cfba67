"""What can go wrong with consent, as one tree.

ConsentError
├── UnknownConsent
├── UnknownFacility
├── UnknownPatient
├── UnknownForm
├── IncompleteConsent       lists what is missing
├── ImproperConsent         says what cannot hold
├── ImproperFacility        says what cannot hold
├── NotInThatState
├── SecondPersonNeeded
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


class UnknownPatient(ConsentError):
    """There is no patient with this identifier."""


class UnknownForm(ConsentError):
    """There is no signed form with this digest."""


class IncompleteConsent(ConsentError):
    """The consent lacks something that it must say."""

    def __init__(self, *missing: str) -> None:
        self.missing = missing
        super().__init__(f"The consent does not say: {'; '.join(missing)}." if missing else None)


class ImproperConsent(ConsentError):
    """The consent says something that cannot hold."""


class ImproperFacility(ConsentError):
    """The facility cannot be registered like this."""


class NotInThatState(ConsentError):
    """The consent is not in a state that allows this change."""


class SecondPersonNeeded(ConsentError):
    """A second check is made by somebody who had no part in recording the consent."""


class ChangedMeanwhile(ConsentError):
    """Somebody else changed this consent in the meantime; look at it again."""
