"""Canonical bytes against the reference package for RFC 8785."""

from __future__ import annotations

import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.log.canonical import NotCanonical, canonical, decode

text = st.text(st.characters(codec="utf-8"), max_size=30)
scalar = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text
plain = scalar | st.lists(text, max_size=4)
name = st.text(st.characters(codec="ascii"), max_size=12)
body = st.dictionaries(name, plain | st.dictionaries(name, plain, max_size=4), max_size=6)


@settings(max_examples=1000, deadline=None)
@given(body | plain)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)
    assert decode(canonical(value)) == value


@pytest.mark.parametrize(
    "value",
    [0.5, 1.0, math.nan, 2**53, -(2**53), "\ud800", {"ä": 1}, {"a": 0.5}, [1], [["x"]], {"a": [1]}, b"x", {1: "x"}],
)
def test_what_is_not_of_the_log_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical(value)


OTHER_SPELLINGS = [
    b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1.5}', b'{"\xc3\xa4":1}', b"1.0", b"1e0", b"-0", b"1 ", b"",
    b"9007199254740992", b"[1]", b'"\\u0041"', b'"\\/"', b'"\\ud800"', b"\xff", b"\xef\xbb\xbf1",
]  # fmt: skip


@pytest.mark.parametrize("spelling", OTHER_SPELLINGS)
def test_any_other_spelling_is_refused(spelling: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(spelling)
