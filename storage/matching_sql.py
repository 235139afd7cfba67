"""Comparisons of `storage/matching.py` as SQL for SQLite and PostgreSQL, and their operands as parameters."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, Text, and_, any_, bindparam, func, literal_column, or_, select

from storage.matching import (
    GROUPS,
    LONGEST_TEXT,
    MIDNIGHT,
    Comparison,
    Comparisons,
    Matching,
    Operand,
    Operator,
    Part,
    beginning,
)
from storage.person_name import COMPONENT, GROUP

Value = ColumnElement[Any]

POSTGRESQL: Final = "postgresql"
_LAST_CHARACTER: Final = "\U0010ffff"
_BEFORE_SURROGATES, _AFTER_SURROGATES = 0xD7FF, 0xE000


def padded_time(column: ColumnElement[Any]) -> ColumnElement[str]:
    """A stored TM text with its absent components as zeros, so that the order of text is the order of time."""
    rest = func.substr(_constant(MIDNIGHT), func.length(column) + 1)
    return func.substr(column.concat(rest), 1, len(MIDNIGHT), type_=Text)


def condition(column: Value, comparisons: Comparisons, name: str, dialect: str) -> ColumnElement[bool]:
    """The comparisons of the key `name` as SQL; the operands are the bind parameters that `parameters` gives."""
    return and_(*(_compare(column, one, f"{name}_{number}", dialect) for number, one in enumerate(comparisons)))


def parameters(matching: Matching, name: str, dialect: str) -> dict[str, object]:
    """What `condition` compares with."""
    bound: dict[str, object] = {}
    for number, (one, operand) in enumerate(zip(matching.comparisons, matching.operands, strict=True)):
        bound.update(_bound(one, operand, f"{name}_{number}", dialect))
    return bound


def _constant(text: str) -> ColumnElement[str]:
    return literal_column(f"'{text}'", Text)


def _compare(column: Value, one: Comparison, name: str, dialect: str) -> ColumnElement[bool]:
    parts = GROUPS if one.part is Part.ANY_GROUP else (one.part,)
    exact = or_(*(_operation(_part_of(column, part, dialect), one, name, dialect) for part in parts))
    if one.prefixed and one.part in (Part.WHOLE, Part.ALPHABETIC):
        return and_(_begins(column, name, dialect), exact)
    return exact


def _part_of(column: Value, part: Part, dialect: str) -> Value:
    if part is Part.WHOLE:
        return column
    separator = _constant(GROUP)
    if dialect == POSTGRESQL:
        return func.split_part(column, separator, part.value, type_=Text)
    rest = column
    for _ in range(part.value - 1):
        rest = func.substr(rest, func.instr(rest.concat(separator), separator) + 1, type_=Text)
    return func.substr(rest, 1, func.instr(rest.concat(separator), separator) - 1, type_=Text)


def _begins(column: Value, name: str, dialect: str) -> ColumnElement[bool]:
    """A condition by which an index on the column can be sought."""
    if dialect == POSTGRESQL:
        return column.like(bindparam(f"{name}_begins", type_=Text), escape="/")
    low, high = bindparam(f"{name}_low", type_=Text), bindparam(f"{name}_high", type_=Text)
    return and_(column >= low, column < high)


def _operation(value: Value, one: Comparison, name: str, dialect: str) -> ColumnElement[bool]:
    operand = bindparam(name, type_=value.type)
    if one.operator is Operator.FROM:
        return value >= operand
    if one.operator is Operator.UNTIL:
        return value <= operand
    if one.operator is Operator.ONE_OF:
        return _one_of(value, name, dialect)
    if one.operator is Operator.LIKE:
        return _like(value.concat(_constant(COMPONENT)) if one.open_ended else value, operand, dialect)
    return value == operand


def _one_of(value: Value, name: str, dialect: str) -> ColumnElement[bool]:
    """One of a list that travels as one parameter, so that its length does not change the statement."""
    if dialect == POSTGRESQL:
        return value == any_(bindparam(name, type_=ARRAY(Text)))
    return value.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))


def _like(value: Value, pattern: Value, dialect: str) -> ColumnElement[bool]:
    if dialect == POSTGRESQL:
        return value.like(pattern, escape="/")
    # after a bare parameter SQLite would plan the statement anew for every pattern
    return value.op("GLOB", is_comparison=True)(pattern.concat(_constant("")))


# Operands as parameters


def _bound(one: Comparison, operand: Operand, name: str, dialect: str) -> dict[str, object]:
    if isinstance(operand, int):
        return {name: operand}
    if isinstance(operand, list):
        return {name: operand if dialect == POSTGRESQL else json.dumps(operand)}
    bound: dict[str, object] = {name: operand}
    if one.operator is Operator.LIKE:
        bound[name] = _like_pattern(operand) if dialect == POSTGRESQL else operand.replace("[", "[[]")
    if one.prefixed:
        bound.update(_bounds(operand if one.operator is Operator.EQUAL else beginning(operand), name, dialect))
    return bound


def _bounds(start: str, name: str, dialect: str) -> dict[str, object]:
    if dialect == POSTGRESQL:
        return {f"{name}_begins": _like_literal(start) + "%"}
    return {f"{name}_low": start, f"{name}_high": _after_all(start)}


def _like_literal(text: str) -> str:
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")


def _like_pattern(pattern: str) -> str:
    return _like_literal(pattern).replace("*", "%").replace("?", "_")


def _after_all(start: str) -> str:
    """The least text, by code point, that comes after every text with this beginning."""
    rest = start.rstrip(_LAST_CHARACTER)
    if not rest:
        return _LAST_CHARACTER * (LONGEST_TEXT + 1)
    last = ord(rest[-1])
    return rest[:-1] + chr(_AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1)
