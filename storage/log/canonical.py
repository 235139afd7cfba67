"""Canonical JSON (RFC 8785) of what the log holds: text, whole numbers, truth values, null, and lists of text.

Within these types, and with ASCII names, sorted compact JSON without escapes beyond the required ones *is* the
canonical form. Numbers outside ±(2^53 - 1), fractions and text that is no Unicode are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_SCALARS: Final = frozenset({str, int, bool, type(None)})


class NotCanonical(ValueError):
    """The value has no canonical form: only text, whole numbers up to 2^53, truth values, null and lists of text do."""


def canonical(value: Any) -> bytes:
    """Give the canonical bytes of a scalar, a list of text, or an object of those."""
    _check(value)
    return encode(value)


def encode(value: Any) -> bytes:
    """Give the canonical bytes of a value whose parts have been checked; NotCanonical where they were not."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise NotCanonical from error


def decode(text: bytes) -> Any:
    """Read canonical JSON; NotCanonical when `text` is any other spelling."""
    try:
        value = orjson.loads(text)
        _check(value)  # a fraction may be spelled the same way twice and is still none of ours
        again = orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise NotCanonical from error
    if again != text:
        raise NotCanonical
    return value


def _check(value: Any) -> None:
    if type(value) in _SCALARS:
        return
    if isinstance(value, Mapping):
        _check_object(value)
    elif isinstance(value, (list, tuple)):
        _check_list(value)
    else:
        raise NotCanonical


def _check_object(value: Mapping[Any, Any]) -> None:
    for name, part in value.items():
        # beyond ASCII, sorting by code point and by UTF-16 unit differ
        if type(name) is not str or not name.isascii():
            raise NotCanonical
        if type(part) not in _SCALARS:
            _check(part)


def _check_list(value: Iterable[Any]) -> None:
    for part in value:
        if type(part) is not str:
            raise NotCanonical
