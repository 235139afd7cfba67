"""Going on in an ordered list from the place where the page before ended, whatever was added or hidden before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Text, and_, bindparam, case, func, or_

Values = Sequence[tuple[ColumnElement[Any], bool]]
"""What a list is ordered by, none of it NULL, each with whether it descends."""

NAME: Final = "after_"


def by_number(number: ColumnElement[Any], key: ColumnElement[int]) -> Values:
    """Ascending by number, rows without one last, then by key: as `number ASC NULLS LAST, key ASC`."""
    return [
        (case((number.is_(None), 1), else_=0), False),
        (func.coalesce(number, 0, type_=BigInteger), False),
        (key, False),
    ]


def newest_first(date: ColumnElement[Any], key: ColumnElement[int]) -> Values:
    """Descending by date, rows without one last, then by key: as `date DESC NULLS LAST, key DESC`."""
    return [(func.coalesce(date, "", type_=Text), True), (key, True)]


def is_after(values: Values) -> ColumnElement[bool]:
    """Whether a row comes after the place given by the parameters `after_0`, `after_1`, …"""
    place = [bindparam(f"{NAME}{number}", type_=value.type) for number, (value, _) in enumerate(values)]
    condition: ColumnElement[bool] | None = None
    for (value, descends), there in reversed(list(zip(values, place, strict=True))):
        beyond = value < there if descends else value > there
        condition = beyond if condition is None else or_(beyond, and_(value == there, condition))
    assert condition is not None, "a list is ordered by something"
    return condition


def place_parameters(place: Sequence[str | int]) -> dict[str, object]:
    """The parameters of `is_after`."""
    return {f"{NAME}{number}": value for number, value in enumerate(place)}
