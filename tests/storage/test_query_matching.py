"""Attribute matching in SQL against the same rules written plainly, on both databases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, insert, select

from storage.database import Database
from storage.errors import BadQuery
from storage.index import time_text
from storage.matching import (
    Matching,
    choice_matching,
    date_matching,
    is_universal,
    name_matching,
    number_matching,
    text_matching,
    time_matching,
    uid_matching,
)
from storage.matching_sql import condition, padded_time, parameters
from storage.person_name import fold, name_key

SCRATCH = Table("scratch", MetaData(), Column("id", Integer, primary_key=True), Column("value", Text, index=True))
# letters that patterns, LIKE, GLOB and collations treat in ways of their own
ALPHABET = "aAbBzZ019 .-_%[]^/\\!'\"#\u00e9\u00c9\u0130\u00df\u5c71\u3084\ud7ff\ue000\U0010ffff*?"
VALUES = st.text(ALPHABET.replace("*", "").replace("?", ""), min_size=1, max_size=8)
PATTERNS = st.text(ALPHABET, min_size=1, max_size=8)
NAME_LETTERS = "aAbB^^= \u00e9\u00c9\u5c71\u7530\u3084-'.\u00df"
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Rolled(Exception):
    """Ends a transaction without a trace."""


@pytest.fixture
def matches(database: Database) -> Iterator[Callable[..., list[str]]]:
    """Which of some values a matching finds."""
    database.write(SCRATCH.create)

    def run(values: list[str | None], matching: Matching, column: Any = SCRATCH.c.value) -> list[str | None]:
        def look(tx: Connection) -> list[str | None]:
            tx.execute(insert(SCRATCH), [{"value": value} for value in values])
            dialect = tx.dialect.name
            asked = select(SCRATCH.c.value).where(condition(column, matching.comparisons, "key", dialect))
            return list(tx.execute(asked.order_by(SCRATCH.c.id), parameters(matching, "key", dialect)).scalars())

        found: list[list[str | None]] = []

        def look_and_undo(tx: Connection) -> None:
            found.append(look(tx))
            raise Rolled

        with pytest.raises(Rolled):
            database.write(look_and_undo)
        return found[0]

    return run


def like(pattern: str, value: str) -> bool:
    """`*` is any run of characters, `?` any one (PS3.4 C.2.2.2.4)."""
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


@given(values=st.lists(VALUES, min_size=1, max_size=6), pattern=PATTERNS)
@QUICK
def test_text_matches_as_written_plainly(matches, values: list[str], pattern: str) -> None:
    if is_universal(pattern):
        return
    pattern = pattern.strip(" ")
    values = [*values, pattern.replace("*", "ab").replace("?", "z"), pattern.replace("*", "").replace("?", "\u5c71")]
    # what the databases' own wildcards would let through
    values += [pattern.replace("%", "ab").replace("_", "z"), re.sub(r"\[.", "a", pattern).replace("]", "")]
    values = [value for value in values if value]
    assert matches(values, text_matching(pattern)) == [value for value in values if like(pattern, value)]


def test_a_missing_value_matches_no_text(matches) -> None:
    for matching in (text_matching("a*"), text_matching("a"), text_matching("?*"), name_matching("a*")):
        assert matches([None], matching) == []


def named(pattern: str, value: str) -> bool:
    """A person name's groups, each matched for itself; carets at an end say nothing (PS3.5 6.2.1)."""
    asked, groups = fold(pattern).split("="), (name_key(value) or "").split("=")
    if len(asked) == 1:
        candidates = groups if not asked[0].isascii() else groups[:1]
        return any(group_named(asked[0], group) for group in candidates)
    groups += [""] * 3
    return all(group_named(one, group) for one, group in zip(asked, groups, strict=False) if one.strip("*"))


def group_named(pattern: str, group: str) -> bool:
    """Components that may be anything may be missing."""
    shorter = pattern
    patterns = [shorter]
    while shorter.endswith("^*"):
        shorter = shorter.removesuffix("^*")
        patterns.append(shorter)
    return any(like(one, group) for one in patterns)


@given(
    values=st.lists(st.text(NAME_LETTERS, min_size=1, max_size=12), min_size=1, max_size=6),
    pattern=st.text(NAME_LETTERS + "**?", min_size=1, max_size=8),
    ending=st.sampled_from(["", "^*", "^", "^*^*"]),
)
@QUICK
def test_names_match_as_written_plainly(matches, values: list[str], pattern: str, ending: str) -> None:
    if is_universal(fold(pattern)) or fold(pattern).count("=") > 2:
        return
    values += [pattern.replace("*", "b^a").replace("?", "a"), pattern.replace("*", "").replace("?", "B")]
    pattern += ending
    values += [value + ending.replace("*", "a") for value in values]
    keys = [key for key in map(name_key, values) if key is not None and key.count("=") <= 2]
    matching = name_matching(pattern)
    if matching.comparisons:
        assert matches(keys, matching) == [key for key in keys if named(pattern, key)]


DATES = st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0"))


@given(values=st.lists(DATES, max_size=6), first=st.none() | DATES, last=st.none() | DATES)
@QUICK
def test_dates_match_as_written_plainly(matches, values: list[str], first: str | None, last: str | None) -> None:
    if first is None and last is None:
        return
    values += [end for end in (first, last) if end]
    found = matches(values, date_matching(f"{first or ''}-{last or ''}"))
    assert found == [v for v in values if (first is None or v >= first) and (last is None or v <= last)]
    if first is not None:
        assert matches(values, date_matching(first)) == [value for value in values if value == first]


@st.composite
def times(draw: st.DrawFn) -> str:
    hour, minute, second = draw(st.integers(0, 23)), draw(st.integers(0, 59)), draw(st.integers(0, 60))
    fraction = draw(st.text("0123456789", min_size=1, max_size=6))
    whole = f"{hour:02}{minute:02}{second:02}"
    return draw(st.sampled_from([whole[:2], whole[:4], whole, f"{whole}.{fraction}"]))


def bounds(time: str) -> tuple[int, int]:
    """The first and the last microsecond that a time stands for."""
    whole, _, fraction = time.partition(".")
    parts = [int(whole[at : at + 2]) for at in range(0, len(whole), 2)]
    low, high = [*parts, 0, 0][:3], [*parts, *([60] * 3)][:3]
    if len(parts) < 2:
        high[1] = 59
    micros = (int(fraction.ljust(6, "0")), int(fraction.ljust(6, "9"))) if fraction else (0, 999_999)
    first, last = ((h * 100 + m) * 100 + s for h, m, s in (low, high))
    return first * 10**6 + micros[0], last * 10**6 + micros[1]


@given(values=st.lists(times(), max_size=6), first=st.none() | times(), last=st.none() | times())
@QUICK
def test_times_match_as_written_plainly(matches, values: list[str], first: str | None, last: str | None) -> None:
    if first is None and last is None:
        return
    values = [*values, *(end for end in (first, last) if end)]
    assert all(time_text(value) == value for value in values)
    whole_times = padded_time(SCRATCH.c.value)
    low, high = bounds(first)[0] if first else 0, bounds(last)[1] if last else 10**12
    found = matches(values, time_matching(f"{first or ''}-{last or ''}"), whole_times)
    assert found == [value for value in values if low <= bounds(value)[0] <= high]
    if first is not None:
        low, high = bounds(first)
        found = matches(values, time_matching(first), whole_times)
        assert found == [value for value in values if low <= bounds(value)[0] <= high]


def test_lists_find_any_of_their_values(matches) -> None:
    uids = ["1.2.3", "1.2.30", "1.2"]
    assert matches(uids, uid_matching("1.2,1.2.3")) == ["1.2.3", "1.2"]
    assert matches(uids, uid_matching("1.2\\1.2.3\\9")) == ["1.2.3", "1.2"]
    assert matches(uids, uid_matching("1.2.30")) == ["1.2.30"]
    assert matches(["CT", "MR", "US"], choice_matching("CT\\ US")) == ["CT", "US"]
    assert matches(["CT", "MR", "US"], choice_matching("*R")) == ["MR"]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (uid_matching, "1.2.*"),
        (uid_matching, "1.2,"),
        (uid_matching, "1.2' OR 1=1"),
        (uid_matching, "1" * 65),
        (uid_matching, ",".join(["1.2"] * 1001)),
        (date_matching, "2025"),
        (date_matching, "20250101-2025"),
        (date_matching, "20250101-20250102-20250103"),
        (date_matching, "-"),
        (date_matching, "2025010?"),
        (date_matching, "\uff12\uff10\uff12\uff15\uff10\uff11\uff10\uff11"),
        (date_matching, "20251301"),
        (time_matching, "25"),
        (time_matching, "10:30"),
        (time_matching, "103015."),
        (number_matching, "1.5"),
        (number_matching, "9" * 13),
        (number_matching, "1 OR 1"),
        (text_matching, "x" * 401),
        (name_matching, "x" * 401),
        (name_matching, "a=b=c=d"),
        (choice_matching, "CT,M*"),
        (choice_matching, ","),
    ],
)
def test_what_cannot_be_matched_is_refused(read: Callable[[str], Matching], text: str) -> None:
    with pytest.raises(BadQuery) as refusal:
        read(text)
    assert len(text) == 1 or text not in str(refusal.value)


def test_a_hostile_pattern_costs_little(matches) -> None:
    pattern = "*a" * 199 + "b"
    assert matches(["a" * 400], text_matching(pattern)) == []
