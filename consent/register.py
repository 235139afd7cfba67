"""The register of consents: every change is a new version, its grants and its audit record, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from consent.model import Consent, Draft, Effect, Provenance
from consent.record import Record


def new_number() -> str:
    """A consent_id that nobody can guess or count."""
    return "con-" + secrets.token_hex(8)


def grant(
    tx: Connection, log: Record, draft: Draft, provenance: Provenance, *, number: Callable[[], str] = new_number
) -> Consent:
    """Record an active permit.

    Raises
    ------
    IncompleteConsent : lists every element that is missing
    ImproperConsent : something that it says cannot hold
    """
    raise NotImplementedError


def deny(
    tx: Connection, log: Record, draft: Draft, provenance: Provenance, *, number: Callable[[], str] = new_number
) -> Consent:
    """Record an active refusal, which beats every permit; raises as `grant`."""
    raise NotImplementedError


def prepare(
    tx: Connection,
    log: Record,
    draft: Draft,
    effect: Effect,
    provenance: Provenance,
    *,
    number: Callable[[], str] = new_number,
) -> Consent:
    """Record a draft, which may still be incomplete."""
    raise NotImplementedError


def submit(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, version: int | None = None
) -> Consent:
    """Put a complete draft before a second person: draft -> pending."""
    raise NotImplementedError


def activate(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, version: int | None = None
) -> Consent:
    """The second check: pending -> active. Raises SecondPersonNeeded for whoever recorded or submitted it."""
    raise NotImplementedError


def revoke(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """End a consent at once: active or suspended -> revoked."""
    raise NotImplementedError


def suspend(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """Stop a permit until `resume`: active -> suspended. A refusal cannot be suspended: it closes until revoked."""
    raise NotImplementedError


def resume(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """Let a suspended permit count again: suspended -> active."""
    raise NotImplementedError


def enter_in_error(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """Take back a consent that should never have been recorded: from any state."""
    raise NotImplementedError


def supersede(
    tx: Connection,
    log: Record,
    consent_id: str,
    draft: Draft,
    provenance: Provenance,
    *,
    version: int | None = None,
    number: Callable[[], str] = new_number,
) -> Consent:
    """Replace a consent by a new one with a number of its own, in one step; gives the new one."""
    raise NotImplementedError


def expire_due(tx: Connection, log: Record, provenance: Provenance, *, limit: int = 256) -> Sequence[Consent]:
    """Mark what has ended by `provenance.at` as expired, at most `limit`; it stopped counting by itself before."""
    raise NotImplementedError


def get(tx: Connection, consent_id: str) -> Consent:
    """The latest version. Raises UnknownConsent."""
    raise NotImplementedError


def history(tx: Connection, consent_id: str) -> Sequence[Consent]:
    """Every version, the first one first. Raises UnknownConsent."""
    raise NotImplementedError


def list_for_patient(tx: Connection, patient_id: str, issuer: str) -> Sequence[Consent]:
    """The latest version of each consent of this patient, the newest first; empty for an unknown patient."""
    raise NotImplementedError


def list_recent(tx: Connection, *, limit: int = 100, offset: int = 0) -> Sequence[Consent]:
    """The latest version of each consent, the most recently changed first."""
    raise NotImplementedError


def suspend_identities(
    tx: Connection, log: Record, patients: Sequence[int], provenance: Provenance, *, reason: str
) -> None:
    """Open nothing of these patients until staff confirm who they are: after a merge, a split or a move."""
    raise NotImplementedError


def confirm_identity(tx: Connection, log: Record, patient: int, provenance: Provenance, *, reason: str) -> None:
    """Staff confirm who this patient is; their consents count again. Raises UnknownPatient, NotInThatState."""
    raise NotImplementedError
