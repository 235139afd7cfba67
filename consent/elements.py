"""What a consent must say, and what it cannot say.

An authorization needs every element of 45 CFR 164.508(c); a consent under 42 CFR Part 2 needs the same (2.31). A
refusal is no authorization: it needs to say only what it closes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from consent.errors import ImproperConsent, IncompleteConsent
from consent.model import ANY, EMERGENCY, FOREVER, STAFF, Basis, Consent, Effect, Sensitivity, Statement
from storage.model import Instant

SIGNED: Final = frozenset({Basis.AUTHORIZATION, Basis.PART2})  # bases that stand on a signature
REACHES_PART2: Final = frozenset({Basis.PART2, Basis.COURT, Basis.LEGAL_OVERRIDE})
PATIENT_SIGNS: Final = "patient"
MOST_GRANTS: Final = 10_000  # rows that one consent may be flattened into
MOST_FACILITIES: Final = 250  # they are named in one audit event, which has 64 KiB
MOST_STUDIES: Final = 1000  # each is a subject of that event
LONGEST_TEXT: Final = 4000
STATEMENTS: Final = {
    Statement.REVOCATION: "the right to revoke in writing, and how",
    Statement.CONDITIONING: "whether treatment or payment depends on signing",
    Statement.REDISCLOSURE: "that what is received may be disclosed again",
    Statement.COPY: "that the signer was given a copy",
}
_LABELS: Final = sum(Sensitivity)
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)
_CODE_STRING: Final = re.compile(r"[A-Z0-9_](?:[A-Z0-9_ ]{0,14}[A-Z0-9_])?")
_DATE: Final = re.compile(r"\d{8}", re.ASCII)
UID_LENGTH: Final = 64


def check_proper(consent: Consent, at: Instant) -> None:
    """Refuse what cannot hold, however complete the consent is.

    Raises
    ------
    ImproperConsent : says what it is
    """
    for wrong in (*_wrong_identity(consent), *_wrong_receivers(consent), *_wrong_scope(consent), *_wrong(consent, at)):
        raise ImproperConsent(wrong)


def check_complete(consent: Consent) -> None:
    """Refuse a consent that does not say all that its basis demands.

    Raises
    ------
    IncompleteConsent : lists every element that is missing
    """
    missing = [*_missing_always(consent), *(_missing_of_authorization(consent) if _is_signed(consent) else ())]
    if missing:
        raise IncompleteConsent(*missing)


def is_date(text: str) -> bool:
    """Whether this is a DA value that names a day (PS3.5 6.2)."""
    if not _DATE.fullmatch(text):
        return False
    try:
        return datetime.strptime(text, "%Y%m%d").year > 0  # noqa: DTZ007 - a calendar date has no zone
    except ValueError:
        return False


def can_be_client_id(text: str) -> bool:
    """Whether a facility may be called this: no word that grants give another meaning."""
    return bool(_CLIENT_ID.fullmatch(text)) and text not in (ANY, STAFF)


def _is_signed(consent: Consent) -> bool:
    return consent.basis in SIGNED and consent.effect is Effect.PERMIT


def _missing_always(consent: Consent) -> Iterator[str]:
    if not consent.facilities and not consent.any_facility:
        yield "who may receive"
    if not consent.purposes and not consent.any_purpose:
        yield "for which purposes"
    if not consent.actions:
        yield "what may be done"


def _missing_of_authorization(consent: Consent) -> Iterator[str]:
    """The elements of 45 CFR 164.508(c)(1) and (2), and the copy of (c)(4)."""
    by_somebody_else = consent.signer_role != PATIENT_SIGNS
    elements = {
        "which information (164.508(c)(1)(i))": consent.information.strip(),
        "who discloses (164.508(c)(1)(ii))": consent.discloser.strip(),
        "each purpose by name (164.508(c)(1)(iv))": not consent.any_purpose,
        "until which date or event (164.508(c)(1)(v))": consent.ends or consent.expiry_event.strip(),
        "who signed (164.508(c)(1)(vi))": consent.signed_by.strip(),
        "when it was signed (164.508(c)(1)(vi))": consent.signed_at is not None,
        "the signed form (164.508(c)(1)(vi))": consent.form_digest,
        "the representative's authority (164.508(c)(1)(vi))": consent.authority.strip() or not by_somebody_else,
    }
    yield from (element for element, said in elements.items() if not said)
    for statement, sentence in STATEMENTS.items():
        if statement not in consent.statements:
            yield f"{sentence} (164.508(c)({4 if statement is Statement.COPY else 2}))"


def _wrong_identity(consent: Consent) -> Iterator[str]:
    for name, text in (("PatientID", consent.patient_id), ("issuer", consent.issuer)):
        if not text.strip() or text != text.strip() or len(text) > UID_LENGTH or not _is_plain(text):
            yield f"The {name} is empty, too long, or holds characters that it cannot have."


def _wrong_receivers(consent: Consent) -> Iterator[str]:
    if consent.any_facility and consent.facilities:
        yield "A consent names facilities, or is for every one; this does both."
    if consent.any_purpose and consent.purposes:
        yield "A consent names purposes, or is for every one; this does both."
    if len(consent.facilities) > MOST_FACILITIES:
        yield f"A consent names at most {MOST_FACILITIES} facilities."
    if not all(map(can_be_client_id, consent.facilities)):
        yield "One of the facilities is no client_id."
    if consent.effect is Effect.PERMIT and EMERGENCY.intersection(consent.purposes):
        yield "Emergency access is not given by consent."


def _wrong_scope(consent: Consent) -> Iterator[str]:
    scope = consent.scope
    if len(scope.studies) > MOST_STUDIES:
        yield f"A consent names at most {MOST_STUDIES} studies."
    if not all(len(uid) <= UID_LENGTH and _UID.fullmatch(uid) for uid in scope.studies):
        yield "One of the studies is no Study Instance UID."
    if not all(map(_CODE_STRING.fullmatch, scope.modalities)):
        yield "One of the modalities is no code, such as CT or MR."
    dates = [date for date in (scope.study_from, scope.study_to) if date is not None]
    if not all(map(is_date, dates)):
        yield "A study date is no date (YYYYMMDD)."
    elif dates != sorted(dates):
        yield "The range of study dates ends before it begins."
    labels = scope.sensitivity or Sensitivity(0)
    if labels & ~_LABELS:
        yield "One of the sensitivity labels is not known."
    if consent.effect is Effect.PERMIT and labels & Sensitivity.PART2 and consent.basis not in REACHES_PART2:
        yield "Material under 42 CFR Part 2 needs a consent on that basis."


def _wrong(consent: Consent, at: Instant) -> Iterator[str]:
    if consent.effective_until <= max(consent.effective_from, at):
        yield "The consent has already ended, or ends before it begins."
    if consent.effective_from < 0 or consent.effective_until > FOREVER:
        yield "The consent begins or ends at a time that cannot be written down."
    if consent.signed_at is not None and consent.signed_at > at:
        yield "The consent is signed in the future."
    texts = (consent.signed_by, consent.signer_role, consent.authority, consent.expiry_event, consent.information)
    if any(len(text) > LONGEST_TEXT for text in (*texts, consent.discloser, consent.reason)):
        yield f"A text is longer than {LONGEST_TEXT} characters."
    if consent.grants > MOST_GRANTS:
        yield f"The consent comes to more than {MOST_GRANTS} single grants; say it in fewer words."


def _is_plain(text: str) -> bool:
    """No backslash and nothing unprintable, as in LO (PS3.5 6.2)."""
    return text.isprintable() and "\\" not in text
