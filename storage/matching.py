"""Attribute matching (PS3.4 C.2.2.2): the text of a key read as comparisons; `storage/matching_sql.py` makes them SQL.

A comparison is an operator and a part of the value; its operand stands apart from it, so that all searches of one form
share one statement. Text is compared with regard to case; person names are compared by their folded keys
(`storage/person_name.py`), component group by component group.

Choices that the standard leaves open: a time that is asked for without seconds or minutes means all of that minute or
hour; dates and times are matched each for itself, never combined; the empty component groups of a person name match
all, and a name without `=` that is not plain ASCII is sought in each group.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from storage.errors import BadQuery
from storage.person_name import COMPONENT, GROUP, fold

Operand = str | int | list[str]

LONGEST_TEXT: Final = 400
"""Characters of a key that is no list of UIDs; no indexed value is longer."""

MOST_UIDS: Final = 1000
MIDNIGHT: Final = "000000.000000"
_LAST_MOMENT: Final = "235960.999999"  # a minute may have a leap second

_WILD = re.compile(r"[*?]")
_SEPARATOR = re.compile(r"[,\\]")
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII).fullmatch
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII).fullmatch
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII).fullmatch
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII).fullmatch


class Operator(enum.Enum):
    """How a value is compared."""

    EQUAL = "equal"
    ONE_OF = "one of"
    LIKE = "like"
    FROM = "from"
    UNTIL = "until"


class Part(enum.Enum):
    """Which part of a value is compared: the whole, or a component group of a person name."""

    WHOLE = 0
    ALPHABETIC = 1
    IDEOGRAPHIC = 2
    PHONETIC = 3
    ANY_GROUP = 4


GROUPS: Final = (Part.ALPHABETIC, Part.IDEOGRAPHIC, Part.PHONETIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison without its operand.

    `prefixed`: the value begins with known text, by which an index is sought. `open_ended`: the pattern ends in `^*`,
    which a name without further components matches too.
    """

    operator: Operator
    part: Part = Part.WHOLE
    prefixed: bool = False
    open_ended: bool = False


Comparisons = tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What a key asks: all of these comparisons, each with its operand. None at all match everything."""

    comparisons: Comparisons
    operands: tuple[Operand, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the key names single values."""
        return all(one.operator in (Operator.EQUAL, Operator.ONE_OF) for one in self.comparisons)


def is_universal(text: str) -> bool:
    """Whether a key matches every value, an absent one too (PS3.4 C.2.2.2.3)."""
    return not text.strip(" ").strip("*")


def text_matching(text: str) -> Matching:
    """Single value or wildcard matching of text (PS3.4 C.2.2.2.1, C.2.2.2.4)."""
    text = _bounded(text.strip(" "))
    if not _WILD.search(text):
        return _one(Comparison(operator=Operator.EQUAL), text)
    return _one(Comparison(operator=Operator.LIKE, prefixed=bool(beginning(text))), _squeezed(text))


def choice_matching(text: str) -> Matching:
    """Any of several values, separated by commas or backslashes; wildcards when there is one."""
    values = [value for value in (part.strip(" ") for part in _SEPARATOR.split(_bounded(text))) if value]
    if len(values) == 1:
        return text_matching(values[0])
    if not values or any(_WILD.search(value) for value in values):
        raise BadQuery("A list of values cannot hold wildcards or be empty.")
    return _one(Comparison(operator=Operator.ONE_OF), values)


def uid_matching(text: str) -> Matching:
    """Single value or list of UID matching (PS3.4 C.2.2.2.2), the list separated by commas or backslashes."""
    uids = [part.strip(" ") for part in _SEPARATOR.split(text)]
    if len(uids) > MOST_UIDS or not all(_UID(uid) for uid in uids):
        raise BadQuery(f"A UID key takes up to {MOST_UIDS} UIDs, separated by commas, and no wildcards.")
    if len(uids) == 1:
        return _one(Comparison(operator=Operator.EQUAL), uids[0])
    return _one(Comparison(operator=Operator.ONE_OF), uids)


def date_matching(text: str) -> Matching:
    """Single value or range matching of dates (PS3.4 C.2.2.2.5), either end open."""
    text = text.strip(" ")
    if _DATE(text):
        return _one(Comparison(operator=Operator.EQUAL), text)
    return _range(text, _DATE, str, str, "A date key is YYYYMMDD, or a range YYYYMMDD-YYYYMMDD with either end open.")


def time_matching(text: str) -> Matching:
    """Single value or range matching of times within a day (PS3.4 C.2.2.2.5), to compare with whole times."""
    text = text.strip(" ")
    if _TIME(text):
        text = f"{text}-{text}"
    expected = "A time key is HHMMSS.FFFFFF or its beginning, or a range of two of them with either end open."
    return _range(text, _TIME, _earliest, _latest, expected)


def number_matching(text: str) -> Matching:
    """Single value matching of an integer (IS)."""
    text = text.strip(" ")
    if not _INTEGER(text):
        raise BadQuery("A number key is one integer.")
    return _one(Comparison(operator=Operator.EQUAL), int(text))


def name_matching(text: str) -> Matching:
    """Single value or wildcard matching of a person name's folded key, by component group (PS3.5 6.2.1)."""
    groups = fold(_bounded(text)).split(GROUP)
    if len(groups) > len(GROUPS):
        raise BadQuery("A person name has at most three component groups.")
    alone = (Part.ALPHABETIC if groups[0].isascii() else Part.ANY_GROUP,)
    parts = alone if len(groups) == 1 else GROUPS
    found = [_group(part, group) for part, group in zip(parts, groups, strict=False) if not is_universal(group)]
    return Matching(comparisons=tuple(one for one, _ in found), operands=tuple(operand for _, operand in found))


def beginning(pattern: str) -> str:
    """The text that whatever matches the pattern begins with; a caret at its end may be missing from a name."""
    return _WILD.split(pattern, maxsplit=1)[0].rstrip(COMPONENT)


# Text read


def _one(comparison: Comparison, operand: Operand) -> Matching:
    return Matching(comparisons=(comparison,), operands=(operand,))


def _bounded(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise BadQuery(f"A key may have at most {LONGEST_TEXT} characters.")
    return text


def _squeezed(pattern: str) -> str:
    """A pattern without runs of `*`, which say the same and cost time."""
    return re.sub(r"\*{2,}", "*", pattern)


def _range(
    text: str,
    is_valid: Callable[[str], object],
    earliest: Callable[[str], str],
    latest: Callable[[str], str],
    expected: str,
) -> Matching:
    first, dash, last = (part.strip(" ") for part in text.partition("-"))
    if not dash or not (first or last) or not all(is_valid(end) for end in (first, last) if end):
        raise BadQuery(expected)
    ends = [(Operator.FROM, earliest(first))] if first else []
    ends += [(Operator.UNTIL, latest(last))] if last else []
    return Matching(
        comparisons=tuple(Comparison(operator=operator) for operator, _ in ends),
        operands=tuple(end for _, end in ends),
    )


def _earliest(time: str) -> str:
    return time + MIDNIGHT[len(time) :]


def _latest(time: str) -> str:
    return time + _LAST_MOMENT[len(time) :]


def _group(part: Part, group: str) -> tuple[Comparison, str]:
    """How one component group is compared; `fold` took away trailing carets, which say nothing (PS3.5 6.2.1.1)."""
    if not _WILD.search(group):
        return Comparison(operator=Operator.EQUAL, part=part, prefixed=True), group
    pattern = _squeezed(group)
    while pattern.endswith("^*^*"):
        pattern = pattern.removesuffix("^*")
    comparison = Comparison(
        operator=Operator.LIKE,
        part=part,
        prefixed=bool(beginning(pattern)),
        open_ended=pattern.endswith("^*"),
    )
    return comparison, pattern
