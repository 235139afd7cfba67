"""The SQL of the rules against their prose, on ten thousand consents and studies; and deliberate faults, all caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, and_, or_, select, true
from sqlalchemy.exc import ProgrammingError

from consent import rules
from consent.decide import CONSENT, of_consent
from consent.predicate import RULES, RuleSet
from consent.tables import facility
from storage.database import Database
from storage.model import Visibility
from storage.tables import patient, series, study

from . import prose, world
from .world import World

SEED = 20_260_731
FAULTY = 1800  # studies and consents on which the seeded faults are tried


@cache
def large() -> World:
    return world.make(SEED, consents=10_000, studies=10_000, patients=1600)


@cache
def small() -> World:
    return world.make(SEED + 1, consents=FAULTY, studies=FAULTY, patients=200)


@cache
def expected(size: str, asks: int) -> tuple[list[prose.Ask], list[dict[int, str | None]]]:
    made = large() if size == "large" else small()
    asked = world.asks(SEED, made, asks)
    return asked, [prose.seen(ask, made.images, made.consents) for ask in asked]


def opened_by(visibility: Visibility) -> Select[int, str | None]:
    return (
        select(series.c.id, visibility.ground.label("ground"))
        .select_from(series.join(study, study.c.id == series.c.study))
        .where(visibility.series)
    )


def answers(tx: Connection, statement: Select[int, str | None], asked: Sequence[prose.Ask]) -> list[dict[int, str]]:
    def row_of(rows: Sequence[Row[int, str | None]]) -> dict[int, str]:
        return {row.id: row.ground for row in rows}

    return [row_of(tx.execute(statement, world.parameters(ask)).all()) for ask in asked]


def test_sql_and_prose_agree_on_ten_thousand_consents_and_studies(database: Database) -> None:
    made = large()
    asked, wanted = expected("large", 24)
    database.write(world.load, made)
    found = database.read(answers, opened_by(CONSENT), asked)
    for ask, sql, plain in zip(asked, found, wanted, strict=True):
        assert sql == plain, f"{ask}: {len(sql.keys() ^ plain.keys())} series decided differently"
    share = [len(plain) / len(made.images) for plain in wanted]
    print(f"\n{len(made.images)} series, visible to each requester: {', '.join(f'{s:.0%}' for s in share)}")
    # a comparison of empty sets would prove nothing
    assert sum(0.02 < s < 0.9 for s in share) >= 6
    assert any(s == 0 for s in share)


def test_driving_side_names_the_patient_of_every_visible_series(database: Database) -> None:
    made = small()
    asked, wanted = expected("small", 12)
    database.write(world.load, made)
    owner = {image.key: made.keys.get((image.patient_id or "", image.issuer or "")) for image in made.images}
    for ask, plain in zip(asked, wanted, strict=True):
        named = set(database.read(lambda tx, a=ask: tx.execute(CONSENT.patients, world.parameters(a)).scalars().all()))
        assert {owner[key] for key in plain} <= named


# Ten deliberate faults


@dataclass(frozen=True)
class Fault:
    name: str
    original: Callable[..., ColumnElement[bool]]
    faulty: Callable[..., ColumnElement[bool]]


def _always(*_: object) -> ColumnElement[bool]:
    return true()


def _until_inclusive(grant: FromClause) -> ColumnElement[bool]:
    return and_(grant.c.valid_from <= rules.AT, grant.c.valid_until >= rules.AT, grant.c.revoked_at.is_(None))


def _from_exclusive(grant: FromClause) -> ColumnElement[bool]:
    return and_(grant.c.valid_from < rules.AT, grant.c.valid_until > rules.AT, grant.c.revoked_at.is_(None))


def _revoked_too(grant: FromClause) -> ColumnElement[bool]:
    return and_(grant.c.valid_from <= rules.AT, grant.c.valid_until > rules.AT)


def _affiliated_too(grant: FromClause) -> ColumnElement[bool]:
    return grant.c.facility.in_([rules.FACILITY, rules.EVERYBODY])


def _purposes() -> tuple[ColumnElement[str], ColumnElement[str]]:
    word = rules.word
    return word(",").concat(facility.c.purposes).concat(word(",")), word("%,").concat(rules.PURPOSE).concat(word(",%"))


def _suspended_too(_grant: FromClause) -> ColumnElement[bool]:
    registered, asked = _purposes()
    return rules.rows_exist(facility, facility.c.client_id == rules.FACILITY, registered.like(asked))


def _any_purpose_of_its_own(_grant: FromClause) -> ColumnElement[bool]:
    return rules.rows_exist(facility, facility.c.client_id == rules.FACILITY, facility.c.state == "active")


def _some_action_is_enough(grant: FromClause) -> ColumnElement[bool]:
    return grant.c.actions.bitwise_and(rules.ACTION) != 0


def _null_modality_escapes_refusal(grant: FromClause) -> ColumnElement[bool]:
    return or_(grant.c.modality.is_(None), grant.c.modality == rules.series_modality)


def _no_code_escapes_refusal(grant: FromClause) -> ColumnElement[bool]:
    return or_(_null_modality_escapes_refusal(grant), rules.series_modality.is_(None))


def _null_date_escapes_refusal(grant: FromClause) -> ColumnElement[bool]:
    return rules.reaches_the_date(grant)


def _unlabelled_escapes_refusal(grant: FromClause) -> ColumnElement[bool]:
    return or_(
        grant.c.sensitivity.is_(None),
        grant.c.sensitivity == 0,
        rules.series_labels.bitwise_and(grant.c.sensitivity) != 0,
    )


def _null_modality_fits_permit(grant: FromClause) -> ColumnElement[bool]:
    return _no_code_escapes_refusal(grant)


def _null_date_fits_permit(grant: FromClause) -> ColumnElement[bool]:
    return rules.closes_the_date(grant)


def _tilde_is_logical(grant: FromClause) -> ColumnElement[bool]:
    return rules.series_labels.bitwise_and(~grant.c.sensitivity) == 0


def _some_label_is_enough(grant: FromClause) -> ColumnElement[bool]:
    labels = rules.series_labels
    return or_(labels == 0, labels.bitwise_and(grant.c.sensitivity) != 0)


def _date_end_excluded(grant: FromClause) -> ColumnElement[bool]:
    return and_(
        or_(grant.c.study_from.is_(None), rules.study_date >= grant.c.study_from),
        or_(grant.c.study_to.is_(None), rules.study_date < grant.c.study_to),
    )


def _same_number_other_issuer(grant: FromClause) -> ColumnElement[bool]:
    holder, subject = patient.alias("holder"), patient.alias("subject")
    both = holder.join(subject, holder.c.patient_id == subject.c.patient_id)
    return rules.rows_exist(both, holder.c.id == grant.c.patient, subject.c.id == rules.study_patient)


FAULTS = [
    Fault("a consent counts at its very end", rules.in_force, _until_inclusive),
    Fault("a consent does not count at its beginning", rules.in_force, _from_exclusive),
    Fault("a revoked consent counts", rules.in_force, _revoked_too),
    Fault("`any facility` includes the affiliated", rules.to_the_facility, _affiliated_too),
    Fault("a suspended facility is let in", rules.to_an_admitted_facility, _suspended_too),
    Fault("a facility asks for a purpose it was not given", rules.to_an_admitted_facility, _any_purpose_of_its_own),
    Fault("an unregistered facility is let in", rules.to_an_admitted_facility, _always),
    Fault("a purpose that the patient did not allow", rules.for_the_purpose, _always),
    Fault("emergency purposes are reached by `any purpose`", rules.not_in_an_emergency, _always),
    Fault("permission for one action is enough for two", rules.allows_the_action, _some_action_is_enough),
    Fault("permission to search permits retrieval", rules.allows_the_action, _always),
    Fault("the study named is not compared", rules.of_the_study, _always),
    Fault("a series without modality escapes a refusal", rules.closes_the_modality, _null_modality_escapes_refusal),
    Fault("a modality that is no code escapes a refusal", rules.closes_the_modality, _no_code_escapes_refusal),
    Fault("a study without date escapes a refusal", rules.closes_the_date, _null_date_escapes_refusal),
    Fault("an unlabelled series escapes a refusal", rules.closes_the_labels, _unlabelled_escapes_refusal),
    Fault("a series without modality fits a narrowed permit", rules.reaches_the_modality, _null_modality_fits_permit),
    Fault("a study without date fits a narrowed permit", rules.reaches_the_date, _null_date_fits_permit),
    Fault("`~` is logical, not bitwise", rules.reaches_the_labels, _tilde_is_logical),
    Fault("one label of several is enough", rules.reaches_the_labels, _some_label_is_enough),
    Fault("the last day of a range is left out", rules.reaches_the_date, _date_end_excluded),
    Fault("another issuer's patient of the same number", rules.of_the_patient, _same_number_other_issuer),
    Fault("a withdrawn study shows", rules.only_online, _always),
    Fault("an identity in doubt opens", rules.of_a_known_patient, _always),
    Fault("a refusal does not close", rules.closes, lambda grant: grant.c.effect == "none"),
    Fault("a refusal counts as a permit", rules.opens, _always),
    Fault(
        "a refusal of everybody spares the facility",
        rules.against_the_facility,
        lambda g: g.c.facility == rules.FACILITY,
    ),
    Fault(
        "a refusal of one purpose closes none", rules.against_the_purpose, lambda g: g.c.purpose == rules.EVERY_PURPOSE
    ),
    Fault("a refusal must forbid all that is asked", rules.against_the_action, rules.allows_the_action),
]


def with_fault(fault: Fault) -> RuleSet:
    """The rules with one of them replaced wherever it stands."""

    def swapped(names: Sequence[Callable[..., ColumnElement[bool]]]) -> tuple[Callable[..., ColumnElement[bool]], ...]:
        return tuple(fault.faulty if rule is fault.original else rule for rule in names)

    changed = replace(
        RULES,
        of_study=swapped(RULES.of_study),
        of_permit=swapped(RULES.of_permit),
        of_reach=swapped(RULES.of_reach),
        of_refusal=swapped(RULES.of_refusal),
    )
    assert changed != RULES, f"{fault.name}: nothing was replaced"
    return changed


def disagreements(database: Database, fault: Fault, asked: Sequence[prose.Ask], wanted: list[dict[int, str]]) -> str:
    try:
        found = database.read(answers, opened_by(of_consent("faulty", with_fault(fault))), asked)
    except ProgrammingError:
        return "refused by the database"
    wrong = sum(len(sql.keys() ^ plain.keys()) for sql, plain in zip(found, wanted, strict=True))
    return f"{wrong} disagreements" if wrong else ""


def test_every_deliberate_fault_is_caught_by_the_comparison(database: Database) -> None:
    made = small()
    asked, wanted = expected("small", 12)
    database.write(world.load, made)
    assert database.read(answers, opened_by(CONSENT), asked) == wanted
    caught = {fault.name: disagreements(database, fault, asked, wanted) for fault in FAULTS}
    print("", *(f"{how or 'NOT CAUGHT':>24}: {name}" for name, how in caught.items()), sep="\n")
    assert [name for name, how in caught.items() if not how] == []


@pytest.mark.parametrize("part", ["of_permit", "of_reach", "of_refusal", "of_study"])
def test_each_rule_is_replaced_by_some_fault(part: str) -> None:
    assert set(getattr(RULES, part)) - {fault.original for fault in FAULTS} == set()
