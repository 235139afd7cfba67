"""What every access rule owes the catalog, whoever it is for: one suite for the `Visibility` seam."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from storage.database import Database
from storage.model import Visible
from storage.tables import series, study

Opened = Mapping[int, str]


def opened(database: Database, visible: Visible) -> Opened:
    """The series that a rule opens, by key, each with its ground."""
    rule = visible.visibility
    found = (
        select(series.c.id, rule.ground.label("ground"))
        .select_from(series.join(study, study.c.id == series.c.study))
        .where(rule.series)
    )
    rows = database.read(lambda tx: tx.execute(found, visible.parameters).all())
    return {row.id: row.ground for row in rows}


def check_ground_and_driving_side(database: Database, visible: Visible) -> None:
    """Every opened series has a ground, and its patient is among those that `patients` selects."""
    found = opened(database, visible)
    assert found, "a rule that opens nothing shows nothing"
    assert all(found.values())
    owners = select(series.c.id, study.c.patient).select_from(series.join(study, study.c.id == series.c.study))
    patient_of = {row.id: row.patient for row in database.read(lambda tx: tx.execute(owners).all())}
    driven = set(database.read(lambda tx: tx.execute(visible.visibility.patients, visible.parameters).scalars().all()))
    assert {patient_of[key] for key in found} <= driven


def check_refuses_a_statement_that_forgets_study_or_series(database: Database, visible: Visible) -> None:
    """Used over other rows than study and series, a rule is an error of the database, never an open door."""
    rule = visible.visibility
    alone = [
        select(series.alias("other").c.id).where(rule.series),
        select(study.alias("other").c.id).where(rule.series),
        select(series.alias("other").c.id, rule.ground.label("ground")).where(rule.series),
    ]
    for statement in alone:
        with pytest.raises(DatabaseError):
            database.read(lambda tx, s=statement: tx.execute(s, visible.parameters).all())


def check_opens_nothing(database: Database, visible: Visible) -> None:
    """Nothing is visible, counted, or named by the driving side."""
    assert opened(database, visible) == {}
    driven = database.read(lambda tx: tx.execute(visible.visibility.patients, visible.parameters).scalars().all())
    assert list(driven) == []
