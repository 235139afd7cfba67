"""The rules put together: the one condition that search and retrieve share (law 3).

    series visible  =  every condition on the study
                       AND (false OR some permit of which every rule holds)
                       AND NOT (false OR some refusal of which every rule holds)

No rule means no row: each OR starts from false().
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, FromClause, Select, Text, and_, cast, false, not_, or_, select

from consent import rules
from consent.tables import consent_grant
from storage.tables import patient


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules that together decide: of the study, of a permit (asked of requester and of series), of a refusal."""

    of_study: Sequence[rules.StudyRule] = (rules.only_online, rules.of_a_known_patient)
    of_permit: Sequence[rules.Rule] = (
        rules.opens,
        rules.to_the_facility,
        rules.to_an_admitted_facility,
        rules.for_the_purpose,
        rules.not_in_an_emergency,
        rules.allows_the_action,
        rules.in_force,
    )
    of_reach: Sequence[rules.Rule] = (
        rules.of_the_patient,
        rules.of_the_study,
        rules.reaches_the_modality,
        rules.reaches_the_date,
        rules.reaches_the_labels,
    )
    of_refusal: Sequence[rules.Rule] = (
        rules.closes,
        rules.of_the_patient,
        rules.against_the_facility,
        rules.against_the_purpose,
        rules.against_the_action,
        rules.in_force,
        rules.of_the_study,
        rules.closes_the_modality,
        rules.closes_the_date,
        rules.closes_the_labels,
    )


RULES: Final = RuleSet()


def series_visible(rule_set: RuleSet = RULES) -> ColumnElement[bool]:
    """Whether a series may be seen: some permit, no refusal."""
    permit, refusal = consent_grant.alias("permit"), consent_grant.alias("refusal")
    permits = [rules.rows_exist(permit, *_all_of(permit, (*rule_set.of_permit, *rule_set.of_reach)))]
    refusals = [rules.rows_exist(refusal, *_all_of(refusal, rule_set.of_refusal))]
    return and_(*(rule() for rule in rule_set.of_study), or_(false(), *permits), not_(or_(false(), *refusals)))


def permitted_patients(rule_set: RuleSet = RULES) -> Select[tuple[int]]:
    """Keys of the patients of whom some permit names the requester; a key may come more than once."""
    permit = consent_grant.alias("permit")
    return (
        select(permit.c.patient)
        .select_from(permit.join(patient, patient.c.id == permit.c.patient))
        .where(patient.c.state == rules.word("known"), *_all_of(permit, rule_set.of_permit))
    )


def permit_relied_on(rule_set: RuleSet = RULES) -> ColumnElement[str | None]:
    """The consent that opens a series, as `consent_id/version`: of several the first by number, always the same."""
    permit = consent_grant.alias("permit")
    name = permit.c.consent_id.concat(rules.word("/")).concat(cast(permit.c.version, Text))
    found = select(name).where(*_all_of(permit, (*rule_set.of_permit, *rule_set.of_reach)))
    return found.order_by(permit.c.consent_id, permit.c.version).limit(1).scalar_subquery()


def _all_of(grant: FromClause, members: Sequence[rules.Rule]) -> list[ColumnElement[bool]]:
    return [rule(grant) for rule in members]
