"""Consents, names and dates in the words of the staff pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from consent.model import EVERY_ACTION, Action, Consent, Effect, Purpose, Scope, State
from consent.parties import Facility, FacilityState
from gateway import calendar
from gateway.desk_file import HeldStudy, PatientFile
from storage.model import Instant

PURPOSES: Final = {
    Purpose.TREAT: "treatment",
    Purpose.HPAYMT: "payment",
    Purpose.HOPERAT: "operations",
    Purpose.PATRQT: "the patient's request",
    Purpose.ETREAT: "emergency treatment",
    Purpose.BTG: "emergency override",
}
CHANGEABLE: Final = frozenset({State.ACTIVE, State.SUSPENDED})
EVERY_FACILITY: Final = "Every registered outside facility"
EVERYBODY: Final = "Everybody"
ALL_STUDIES: Final = "All studies, also future ones"
DATE_LENGTH: Final = 8  # YYYYMMDD


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentLine:
    """One consent as the page shows it. `state` is the word, `counts` whether it opens or closes anything now."""

    consent_id: str
    version: int
    denies: bool
    who: Sequence[str]
    what: Sequence[str]
    terms: Sequence[str]
    since: str
    until: str
    state: str
    counts: bool
    changeable: bool
    reason: str
    recorded: str


def consent_lines(file: PatientFile, zone: ZoneInfo) -> list[ConsentLine]:
    """The consents of a file: those that count first, in each half the newest first."""
    facilities = {facility.client_id: facility for facility in file.facilities}
    studies = {study.study_instance_uid: study for study in file.studies}
    lines = [_line(consent, facilities, studies, file.at, zone) for consent in file.consents]
    return sorted(lines, key=lambda line: not line.changeable)


def person_name(text: str) -> str:
    """A PN (PS3.5 6.2.1) as it is read: family name, given names, and the other scripts in brackets."""
    groups = [_group(group) for group in text.split("=")]
    alphabetic, *others = [group for group in groups if group] or [""]
    return f"{alphabetic} ({', '.join(others)})" if others else alphabetic


def day(text: str) -> str:
    """A DA as YYYY-MM-DD; what is no date stays as it is."""
    if len(text) != DATE_LENGTH or not (text.isascii() and text.isdigit()):
        return text
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


def _line(
    consent: Consent,
    facilities: Mapping[str, Facility],
    studies: Mapping[str, HeldStudy],
    at: Instant,
    zone: ZoneInfo,
) -> ConsentLine:
    over = consent.state in CHANGEABLE and consent.effective_until <= at
    return ConsentLine(
        consent_id=consent.consent_id,
        version=consent.version,
        denies=consent.effect is Effect.DENY,
        who=list(_who(consent, facilities)),
        what=list(_what(consent.scope, studies)),
        terms=list(_terms(consent, zone)),
        since=calendar.as_day(consent.effective_from, zone),
        until=calendar.last_day(consent.effective_until, zone) if consent.ends else "no end",
        state="expired" if over else consent.state.value,
        counts=consent.state is State.ACTIVE and not over,
        changeable=consent.state in CHANGEABLE and not over,
        reason=consent.reason,
        recorded=f"{calendar.as_day(consent.recorded_at, zone)}, {consent.recorded_by}",
    )


def _who(consent: Consent, facilities: Mapping[str, Facility]) -> Iterator[str]:
    if consent.any_facility:
        yield EVERYBODY if consent.effect is Effect.DENY else EVERY_FACILITY
    for client_id in consent.facilities:
        facility = facilities.get(client_id)
        if facility is None:
            yield f"{client_id} (not registered)"
        else:
            active = facility.state is FacilityState.ACTIVE
            yield facility.name if active else f"{facility.name} ({facility.state.value})"


def _what(scope: Scope, studies: Mapping[str, HeldStudy]) -> Iterator[str]:
    if not scope.studies:
        yield ALL_STUDIES
    for uid in scope.studies:
        yield study_title(studies[uid]) if uid in studies else uid
    if scope.modalities:
        yield f"only {', '.join(scope.modalities)}"
    if scope.study_from or scope.study_to:
        begins = f" from {day(scope.study_from)}" if scope.study_from else ""
        ends = f" to {day(scope.study_to)}" if scope.study_to else ""
        yield f"only dated{begins}{ends}"
    if scope.sensitivity:
        yield f"sensitive: {', '.join(str(label.name) for label in scope.sensitivity)}"


def _terms(consent: Consent, zone: ZoneInfo) -> Iterator[str]:
    purposes = "every purpose" if consent.any_purpose else ", ".join(PURPOSES[purpose] for purpose in consent.purposes)
    yield f"For {purposes}"
    if consent.actions != EVERY_ACTION:
        yield "search only" if consent.actions == Action.SEARCH else "retrieve only"
    signer = consent.signed_by or (f"the {consent.signer_role}" if consent.signed_at else "")
    if signer:
        on = f" on {calendar.as_day(consent.signed_at, zone)}" if consent.signed_at else ""
        authority = f", {consent.authority}" if consent.authority else ""
        yield f"signed by {signer}{authority}{on}"


def study_title(study: HeldStudy) -> str:
    """A study in one line: date, modalities, description."""
    parts = (day(study.study_date) or "undated", ", ".join(study.modalities), study.study_description)
    return " · ".join(part for part in parts if part)


def _group(text: str) -> str:
    family, *rest = [component.strip() for component in text.split("^")]
    given = " ".join(part for part in rest if part)
    return ", ".join(part for part in (family, given) if part)
