"""Decide what a requester may see: the only maker of `Visibility` and `Visible` (law 2).

The rules are SQL, built once; a decision binds the requester to them. Whether anything is visible, only the database
knows, at the moment it is asked.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, literal

from consent import due, predicate, rules
from consent.model import EMERGENCY, EVERY_ACTION, STAFF, Action, Decision, Requester
from consent.predicate import RULES, RuleSet
from storage.model import Instant, Visibility, Visible
from storage.person_name import COMPONENT, fold

DESK_SCOPES: Final = frozenset({f"{STAFF}/consent", f"{STAFF}/records", f"{STAFF}/admin"})  # not the auditor
NOBODY: Final = None  # a patient key, or a name, that equals none
BATCH: Final = 500  # series keys in one statement: SQLite binds at most 32,766 values


def of_consent(name: str, rule_set: RuleSet) -> Visibility:
    """A rule set as what the catalog takes."""
    return Visibility(
        name=name,
        series=predicate.series_visible(rule_set),
        patients=predicate.permitted_patients(rule_set),
        ground=predicate.permit_relied_on(rule_set),
    )


CONSENT: Final = of_consent("consent", RULES)
DESK: Final = Visibility(
    name="desk", series=rules.of_one_patient(), patients=rules.that_patient(), ground=literal("desk")
)
DESK_SEARCH: Final = Visibility(
    name="desk-search", series=rules.of_patients_sought(), patients=rules.those_sought(), ground=literal("desk")
)
_STILL_VISIBLE: Final = {
    visibility.name: rules.still_visible_among(visibility.series) for visibility in (CONSENT, DESK, DESK_SEARCH)
}
_NEXT_TIMES: Final = due.next_times()


def decide(requester: Requester, action: Action, at: Instant, *, unlabelled_is_ordinary: bool) -> Decision:
    """What an outside facility may search or retrieve at this instant, as far as consent allows.

    A requester who is no registered, active facility, and one who asks in an emergency, gets a decision that opens
    nothing. `unlabelled_is_ordinary` is the setting of that name.

    Raises
    ------
    ValueError : no action is named
    """
    if not action:
        raise ValueError("a decision needs an action")
    parameters = {
        "facility": requester.facility,
        "affiliated": requester.affiliated,
        "purpose": requester.purpose.value,
        "action": int(action),
        "at": at,
        "unlabelled": 0 if unlabelled_is_ordinary else None,
    }
    emergency = ["emergency access is off"] if requester.purpose in EMERGENCY else []
    return Decision(
        requester=requester,
        action=action,
        at=at,
        visible=Visible(visibility=CONSENT, parameters=parameters),
        reasons=("rule: consent", f"purpose: {requester.purpose.value}", *emergency),
    )


def decide_desk(requester: Requester, patient: int, at: Instant) -> Decision:
    """What staff may see of the one patient, by key, whose file they opened: what is here, whatever was consented.

    Somebody without a role at the desk gets a decision that opens nothing.
    """
    allowed = is_at_desk(requester)
    return Decision(
        requester=requester,
        action=EVERY_ACTION,
        at=at,
        visible=Visible(visibility=DESK, parameters={"patient": patient if allowed else NOBODY}),
        reasons=("rule: desk",) if allowed else ("rule: desk", "no role at the desk"),
    )


def decide_desk_search(requester: Requester, family: str, given: str, birth_date: str, at: Instant) -> Decision:
    """What staff may see while they look a patient up by two things they know: name and birth date, both (DA text).

    Names are compared as `storage.person_name` folds them; the given name may be left out or be the beginning of one.
    Without a family name or a birth date, and for somebody without a role at the desk, it opens nothing.
    """
    name = fold(f"{family}{COMPONENT}{given}")
    pattern = rules.literally(name) + ("%" if fold(given) else COMPONENT + "%")
    allowed = is_at_desk(requester) and bool(fold(family)) and bool(birth_date)
    sought = {"sought_name": name, "sought_name_pattern": pattern, "sought_birth_date": birth_date}
    return Decision(
        requester=requester,
        action=Action.SEARCH,
        at=at,
        visible=Visible(visibility=DESK_SEARCH, parameters=sought if allowed else dict.fromkeys(sought, NOBODY)),
        reasons=("rule: desk-search",) if allowed else ("rule: desk-search", "nothing sought, or no role at the desk"),
    )


def is_at_desk(requester: Requester) -> bool:
    """Whether this is somebody who works here, in a role that looks at patients."""
    return requester.facility == STAFF and not DESK_SCOPES.isdisjoint(requester.scopes)


def still_visible(tx: Connection, decision: Decision, series: Collection[int], at: Instant) -> frozenset[int]:
    """Which of these series, by key, the decision would still open at `at`: what a running download is held to."""
    statement = _STILL_VISIBLE[decision.visible.visibility.name]
    parameters = {**decision.visible.parameters, "at": at}
    keys = sorted(series)
    seen: set[int] = set()
    for start in range(0, len(keys), BATCH):
        found = tx.execute(statement, {**parameters, "series_keys": keys[start : start + BATCH]})
        seen.update(row.id for row in found)
    return frozenset(seen)


def next_change(tx: Connection, decision: Decision, at: Instant) -> Instant | None:
    """When, after `at`, time alone may next change what the decision opens; other changes bump the epoch.

    None is never: no grant that concerns the facility begins or ends later.
    """
    if decision.visible.visibility is not CONSENT:
        return None
    asked = {"facility": decision.requester.facility, "at": at}
    times: list[Instant] = [time for time in tx.execute(_NEXT_TIMES, asked).one() if time is not None]
    return min(times, default=None)
