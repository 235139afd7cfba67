"""The rules of consent as prose says them, in plain Python, written without looking at the SQL.

A series may be seen by a facility when some consent of its patient opens it and none closes it. Everything here works
on the words of a consent and on attributes as a file gives them, not on rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent.model import Action, Consent, Effect, Purpose, Scope, Sensitivity, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An outside facility as it stands in the register; `state` is None when it was never registered."""

    client_id: str
    state: str | None
    affiliated: bool
    purposes: tuple[Purpose, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One series with what its files say: dates and modality as written, right or wrong."""

    key: int
    patient_id: str | None
    issuer: str | None
    identity_in_doubt: bool
    study_state: str
    study_instance_uid: str
    study_date: str | None
    modality: str | None
    labels: Sensitivity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks, what for, when, and how the hospital treats unlabelled series."""

    party: Party
    believed_affiliated: bool  # as the requester's token says
    purpose: Purpose
    action: Action
    at: int
    unlabelled_is_ordinary: bool


def may_see(ask: Ask, image: Image, consents: Iterable[Consent]) -> bool:
    """Deny beats permit, and silence is refusal."""
    mine = [consent for consent in consents if is_about(consent, image)]
    if image.study_state != "online" or image.identity_in_doubt:
        return False
    if any(refuses(consent, ask, image) for consent in mine):
        return False
    return any(permits(consent, ask, image) for consent in mine)


def ground(ask: Ask, image: Image, consents: Iterable[Consent]) -> str | None:
    """The consent relied on: of several that permit, the first by number."""
    names = [(c.consent_id, c.version) for c in consents if is_about(c, image) and permits(c, ask, image)]
    return "{}/{}".format(*min(names)) if names else None


def is_about(consent: Consent, image: Image) -> bool:
    """A patient is PatientID and issuer; images without a PatientID are nobody's."""
    if image.patient_id is None:
        return False
    return consent.patient_id == image.patient_id and consent.issuer == image.issuer


def permits(consent: Consent, ask: Ask, image: Image) -> bool:
    counts = consent.effect is Effect.PERMIT and consent.state is State.ACTIVE
    return counts and _permits_requester(consent, ask) and _permits_image(consent, image, ask.unlabelled_is_ordinary)


def _permits_requester(consent: Consent, ask: Ask) -> bool:
    """Who asks, what for, to do what, and when."""
    if ask.purpose in (Purpose.ETREAT, Purpose.BTG):  # emergency access is off
        return False
    if ask.party.state != "active" or ask.purpose not in ask.party.purposes:
        return False
    if consent.any_facility:
        named = not ask.party.affiliated and not ask.believed_affiliated
    else:
        named = ask.party.client_id in consent.facilities
    intended = consent.any_purpose or ask.purpose in consent.purposes
    # it counts from when it was recorded, or later where it says so, and up to, not including, its end
    begun = ask.at >= consent.recorded_at and ask.at >= consent.effective_from
    return named and intended and ask.action in consent.actions and begun and ask.at < consent.effective_until


def _permits_image(consent: Consent, image: Image, unlabelled_is_ordinary: bool) -> bool:
    scope = consent.scope
    if scope.studies and image.study_instance_uid not in scope.studies:
        return False
    if scope.modalities and readable_modality(image.modality) not in scope.modalities:
        return False
    if scope.study_from is not None or scope.study_to is not None:
        day = readable_day(image.study_date)
        if day is None or not _within(scope, day):
            return False
    if image.labels is None:
        return unlabelled_is_ordinary
    named = scope.sensitivity or Sensitivity(0)
    return all(label in named for label in image.labels)


def _within(scope: Scope, day: int) -> bool:
    after = scope.study_from is None or day >= int(scope.study_from)
    return after and (scope.study_to is None or day <= int(scope.study_to))


def refuses(consent: Consent, ask: Ask, image: Image) -> bool:
    if consent.effect is not Effect.DENY or consent.state is not State.ACTIVE:
        return False
    if not consent.any_facility and ask.party.client_id not in consent.facilities:
        return False
    if not consent.any_purpose and ask.purpose not in consent.purposes:
        return False
    if not any(action in consent.actions for action in ask.action):
        return False
    if not consent.effective_from <= ask.at < consent.effective_until:
        return False
    return _refuses_image(consent, image)


def _refuses_image(consent: Consent, image: Image) -> bool:
    """An attribute that is missing or cannot be read fits every refusal."""
    scope = consent.scope
    if scope.studies and image.study_instance_uid not in scope.studies:
        return False
    modality = readable_modality(image.modality)
    if scope.modalities and modality is not None and modality not in scope.modalities:
        return False
    day = readable_day(image.study_date)
    if day is not None and not _within(scope, day):
        return False
    if not scope.sensitivity or image.labels is None:
        return True
    return any(label in scope.sensitivity for label in image.labels)


def readable_day(text: str | None) -> int | None:
    """A DA value as the number YYYYMMDD, or None when it names no day."""
    if text is None or len(text) != 8 or not text.isascii() or not text.isdigit():
        return None
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= lengths[month - 1]:
        return None
    return int(text)


def readable_modality(text: str | None) -> str | None:
    """A code string, or None: CS has capitals, digits, space and underscore, at most 16."""
    if not text or len(text) > 16 or any(c not in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _" for c in text):
        return None
    return text


def seen(ask: Ask, images: Sequence[Image], by_patient: dict[tuple[str, str], list[Consent]]) -> dict[int, str | None]:
    """The keys of the series that may be seen, each with the consent relied on."""
    found = {}
    for image in images:
        theirs = by_patient.get((image.patient_id or "", image.issuer or ""), [])
        if may_see(ask, image, theirs):
            found[image.key] = ground(ask, image, theirs)
    return found
