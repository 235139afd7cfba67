"""The register of consents: every change is a new version, its grants and its audit record, in one transaction.

    draft -> pending -> active <-> suspended -> revoked | expired | superseded       any -> entered-in-error

Only an active consent has grants that count. What narrows anybody's view bumps the epoch, so that running downloads
are decided again (law 8). A function that raises leaves nothing behind once its transaction is rolled back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from consent import chain, due, elements, forms
from consent.errors import ChangedMeanwhile, IncompleteConsent, NotInThatState, SecondPersonNeeded
from consent.model import Consent, Draft, Effect, Provenance, State
from consent.record import Record, consent_changed
from storage import epoch, patients

_MISTAKE: Final = State.ENTERED_IN_ERROR
_OVER: Final = frozenset({State.REVOKED, State.EXPIRED, State.SUPERSEDED})
NEXT: Final[Mapping[State, frozenset[State]]] = {
    State.DRAFT: frozenset({State.PENDING, _MISTAKE}),
    State.PENDING: frozenset({State.ACTIVE, _MISTAKE}),
    State.ACTIVE: _OVER | {State.SUSPENDED, _MISTAKE},
    State.SUSPENDED: _OVER | {State.ACTIVE, _MISTAKE},
    State.REVOKED: frozenset({_MISTAKE}),
    State.EXPIRED: frozenset({_MISTAKE}),
    State.SUPERSEDED: frozenset({_MISTAKE}),
    State.ENTERED_IN_ERROR: frozenset(),
}


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
    UnknownForm : the signed form that it names is not kept
    """
    return _record(tx, log, "granted", _first(draft, Effect.PERMIT, State.ACTIVE, provenance, number()), provenance)


def deny(
    tx: Connection, log: Record, draft: Draft, provenance: Provenance, *, number: Callable[[], str] = new_number
) -> Consent:
    """Record an active refusal, which beats every permit; without purposes it is against all. Raises as `grant`."""
    return _record(tx, log, "denied", _first(draft, Effect.DENY, State.ACTIVE, provenance, number()), provenance)


def prepare(
    tx: Connection,
    log: Record,
    draft: Draft,
    effect: Effect,
    provenance: Provenance,
    *,
    number: Callable[[], str] = new_number,
) -> Consent:
    """Record a draft, which may still be incomplete. Raises ImproperConsent, UnknownForm."""
    return _record(tx, log, "drafted", _first(draft, effect, State.DRAFT, provenance, number()), provenance)


def submit(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, version: int | None = None
) -> Consent:
    """Put a complete draft before a second person: draft -> pending. Raises as `grant`, and as `revoke`."""
    head = _at_version(tx, consent_id, version)
    return _record(tx, log, "submitted", _following(tx, head, State.PENDING, provenance), provenance)


def activate(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, version: int | None = None
) -> Consent:
    """Make the second check: pending -> active.

    Raises
    ------
    SecondPersonNeeded : this person drafted or submitted it
    """
    head = _at_version(tx, consent_id, version)
    if head.state is not State.PENDING:
        raise NotInThatState
    if provenance.by in {earlier.recorded_by for earlier in chain.versions(tx, consent_id)}:
        raise SecondPersonNeeded
    return _record(tx, log, "activated", _following(tx, head, State.ACTIVE, provenance), provenance)


def revoke(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """End a consent at once: active or suspended -> revoked. `version` is the one the caller looked at.

    Raises
    ------
    UnknownConsent : there is none of this number
    NotInThatState : its state does not allow this change
    ChangedMeanwhile : it has a newer version than the caller looked at
    IncompleteConsent : no reason is given
    """
    head = _at_version(tx, consent_id, version)
    return _record(tx, log, "revoked", _following(tx, head, State.REVOKED, provenance, reason), provenance)


def suspend(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """Stop a permit until `resume`: active -> suspended. A refusal closes until it is revoked. Raises as `revoke`."""
    head = _at_version(tx, consent_id, version)
    if head.effect is Effect.DENY:
        raise NotInThatState("A refusal goes on closing until it is revoked; it cannot be suspended.")
    return _record(tx, log, "suspended", _following(tx, head, State.SUSPENDED, provenance, reason), provenance)


def resume(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """Let a suspended permit count again: suspended -> active. Raises as `revoke`."""
    head = _at_version(tx, consent_id, version)
    if head.state is not State.SUSPENDED:
        raise NotInThatState
    return _record(tx, log, "resumed", _following(tx, head, State.ACTIVE, provenance, reason), provenance)


def enter_in_error(
    tx: Connection, log: Record, consent_id: str, provenance: Provenance, *, reason: str, version: int | None = None
) -> Consent:
    """Take back a consent that should never have been recorded: from any state. Raises as `revoke`."""
    head = _at_version(tx, consent_id, version)
    return _record(
        tx, log, "entered-in-error", _following(tx, head, State.ENTERED_IN_ERROR, provenance, reason), provenance
    )


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
    """Replace a consent by a new one of the same effect with a number of its own, in one step; gives the new one.

    Raises as `grant`, and as `revoke`.
    """
    head = _at_version(tx, consent_id, version)
    new = _first(draft, head.effect, State.ACTIVE, provenance, number())
    if (new.patient_id, new.issuer) != (head.patient_id, head.issuer):
        raise NotInThatState("A consent can be replaced only by one of the same patient.")
    old = _following(tx, head, State.SUPERSEDED, provenance, f"replaced by {new.consent_id}")
    _record(tx, log, "superseded", old, provenance)
    new = replace(new, supersedes=f"{head.consent_id}/{head.version}")
    return _record(tx, log, "granted" if new.effect is Effect.PERMIT else "denied", new, provenance)


def expire_due(tx: Connection, log: Record, provenance: Provenance, *, limit: int = 256) -> Sequence[Consent]:
    """Mark what has ended by `provenance.at` as expired, at most `limit`; it stopped counting by itself before."""
    expired = []
    for consent_id in due.ended(tx, provenance.at, limit):
        head = chain.head(tx, consent_id)
        following = _following(tx, head, State.EXPIRED, provenance, "its time has ended")
        expired.append(_record(tx, log, "expired", following, provenance))
    return expired


def get(tx: Connection, consent_id: str) -> Consent:
    """The latest version. Raises UnknownConsent."""
    return chain.head(tx, consent_id)


def history(tx: Connection, consent_id: str) -> Sequence[Consent]:
    """Every version, the first one first. Raises UnknownConsent."""
    return chain.versions(tx, consent_id)


def list_for_patient(tx: Connection, patient_id: str, issuer: str) -> Sequence[Consent]:
    """The latest version of each consent of this patient, the newest first; empty for an unknown patient."""
    patient = patients.find(tx, patient_id, issuer)
    return [] if patient is None else chain.of_patient(tx, patient)


def list_recent(tx: Connection, *, limit: int = 100, offset: int = 0) -> Sequence[Consent]:
    """The latest version of each consent, the most recently changed first."""
    return chain.recent(tx, limit, offset)


def _first(draft: Draft, effect: Effect, state: State, provenance: Provenance, consent_id: str) -> Consent:
    """Version 1, as the draft says it: repeated words once, a refusal without purposes against all of them."""
    once = {
        "facilities": tuple(dict.fromkeys(draft.facilities)),
        "purposes": tuple(dict.fromkeys(draft.purposes)),
        "scope": replace(
            draft.scope,
            studies=tuple(dict.fromkeys(draft.scope.studies)),
            modalities=tuple(dict.fromkeys(draft.scope.modalities)),
        ),
    }
    said = {name: getattr(draft, name) for name in Draft.__dataclass_fields__}
    begins = provenance.at if draft.effective_from is None else draft.effective_from
    against_all = effect is Effect.DENY and not draft.purposes
    settled = {"effective_from": begins, "any_purpose": draft.any_purpose or against_all}
    chained = {"consent_id": consent_id, "version": 1, "effect": effect, "state": state}
    recorded = {"recorded_by": provenance.by, "recorded_at": provenance.at}
    return Consent(**{**said, **once, **settled, **chained, **recorded})


def _record(tx: Connection, log: Record, change: str, consent: Consent, provenance: Provenance) -> Consent:
    """Write a version after checking what its state demands: version, grants, epoch and event, or none of them."""
    if consent.state in (State.DRAFT, State.PENDING, State.ACTIVE):
        elements.check_proper(consent, provenance.at)
        if consent.form_digest is not None:
            forms.check_kept(tx, consent.form_digest)
    if consent.state in (State.PENDING, State.ACTIVE):
        elements.check_complete(consent)
    chain.append(tx, consent)
    if consent.state in _OVER or consent.state is _MISTAKE:
        due.forget(tx, consent.consent_id)
    if consent.state is State.ACTIVE:
        chain.open_grants(tx, consent)
        due.note(tx, consent)
        if consent.effect is Effect.DENY:
            epoch.bump(tx)
    log.append(tx, consent_changed(change, consent, provenance))
    return consent


def _following(tx: Connection, head: Consent, to: State, provenance: Provenance, reason: str | None = None) -> Consent:
    """The next version, after closing what this one opened."""
    if to not in NEXT[head.state]:
        raise NotInThatState(f"The consent is {head.state.value}, which does not allow this change.")
    if reason is not None and not reason.strip():
        raise IncompleteConsent("the reason")
    if head.state is State.ACTIVE:
        chain.close_grants(tx, head.consent_id, provenance.at)
        if head.effect is Effect.PERMIT:
            epoch.bump(tx)
    return replace(
        head,
        version=head.version + 1,
        state=to,
        recorded_by=provenance.by,
        recorded_at=provenance.at,
        reason=head.reason if reason is None else reason,
    )


def _at_version(tx: Connection, consent_id: str, version: int | None) -> Consent:
    head = chain.head(tx, consent_id)
    if version is not None and version != head.version:
        raise ChangedMeanwhile
    return head
