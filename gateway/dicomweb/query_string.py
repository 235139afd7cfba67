"""The query string of a search as a `Query` (PS3.18 8.3.4, 10.6.1.2).

A parameter that looks like an attribute (eight hex digits, a dotted path, a word written like a PS3.6 keyword) must be
one; taking a misspelt key for no key would answer with rows that were not asked for. Any other parameter that is not
known is ignored. Every value is percent-decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from pydicom.datadict import get_entry, keyword_dict

from storage.errors import BadQuery
from storage.model import Level, Match, Query

LONGEST_BYTES: Final = 16_384
MOST_PARAMETERS: Final = 256
MOST_FIELDS: Final = 512
DEEPEST_PATH: Final = 8

ACCEPT: Final = "accept"
UNSUPPORTED: Final = {
    "fuzzymatching": "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
    "emptyvaluematching": (
        "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
    ),
    "multiplevaluematching": (
        "The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed."
    ),
}
"""What is said in a Warning of a kind of matching that was asked for and not done (8.3.4.2, 8.3.4.5, 8.3.4.6)."""

_KEYWORDS: Final = {keyword: f"{tag:08X}" for keyword, tag in keyword_dict.items() if keyword}
_BY_LOWER_CASE: Final = {keyword.lower(): keyword for keyword in _KEYWORDS}
_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII).fullmatch
_KEYWORD_LIKE = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", re.ASCII).fullmatch
_NUMBER = re.compile(r"\d{1,18}", re.ASCII).fullmatch
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search as it was asked for: the query, the `accept` parameters, and the warnings that its answer needs."""

    query: Query
    accept: Sequence[str]
    warnings: Sequence[str]


def parse(
    raw: bytes,
    level: Level,
    *,
    maximum: int,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> Search:
    """Read a raw query string; the UIDs are those of the path. `maximum` is the most rows that are answered at once.

    Raises
    ------
    BadQuery : a key is no attribute, a parameter has an impossible value, or it is all too long
    """
    values: dict[str, list[str]] = {}
    keys: list[Match] = []
    for name, value in _pairs(raw):
        if _looks_like_attribute(name):
            keys.append(Match(path=_path(name), text=_decoded(value)))
        elif name != ACCEPT:
            values.setdefault(name, []).append(_decoded(value))
    fields = [field.strip(" ") for value in values.get("includefield", ()) for field in value.split(",")]
    query = Query(
        level=level,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        match=tuple(keys),
        include=_included(field for field in fields if field not in {"", "all"}),
        include_all="all" in fields,
        limit=min(_number(values, "limit", maximum), maximum),
        offset=_number(values, "offset", 0),
    )
    warnings = [text for name, text in UNSUPPORTED.items() if _is_true(values, name)]
    return Search(query=query, accept=accept_parameters(raw), warnings=warnings)


def accept_parameters(raw: bytes) -> list[str]:
    """The values of the `accept` parameter (8.3.3.1), in which `+` is itself: media types have it, and no spaces.

    Raises
    ------
    BadQuery : the query string cannot be decoded
    """
    return [_decoded(value, plus=b"+") for name, value in _pairs(raw) if name == ACCEPT]


def _pairs(raw: bytes) -> list[tuple[str, bytes]]:
    if len(raw) > LONGEST_BYTES:
        raise BadQuery(f"A query string may have at most {LONGEST_BYTES} bytes.")
    pieces = [piece for piece in raw.split(b"&", MOST_PARAMETERS) if piece]
    if len(pieces) > MOST_PARAMETERS:
        raise BadQuery(f"A search may have at most {MOST_PARAMETERS} parameters.")
    return [(_decoded(name), value) for name, _, value in (piece.partition(b"=") for piece in pieces)]


def _decoded(text: bytes, *, plus: bytes = b" ") -> str:
    """`text` decoded once; `+` is a space, as in forms, unless it must stay."""
    if _BAD_ESCAPE(text):
        raise BadQuery("The query string has a % that begins no percent-encoded byte.")
    try:
        decoded = unquote_to_bytes(text.replace(b"+", plus)).decode()
    except UnicodeDecodeError as error:
        raise BadQuery("The query string is not UTF-8.") from error
    if _CONTROL(decoded):
        raise BadQuery("The query string holds a control character.")
    return decoded


def _looks_like_attribute(name: str) -> bool:
    return bool(_TAG(name) or "." in name or _KEYWORD_LIKE(name) or name.lower() in _BY_LOWER_CASE)


def _path(name: str) -> tuple[str, ...]:
    """The tags of a key that must be an attribute."""
    steps = name.split(".")
    if len(steps) > DEEPEST_PATH:
        raise BadQuery(f"An attribute lies at most {DEEPEST_PATH} levels deep.")
    return tuple(_known_tag(step) for step in steps)


def _known_tag(step: str) -> str:
    if _TAG(step):
        tag = step.upper()
        try:
            get_entry(int(tag, 16))
        except KeyError:
            raise BadQuery(f"The attribute {tag} is not known, so it cannot be matched.") from None
        return tag
    return _tag_of_keyword(step)


def _tag_of_keyword(keyword: str) -> str:
    tag = _KEYWORDS.get(keyword)
    if tag is None:
        meant = _BY_LOWER_CASE.get(keyword.lower())
        hint = f" Did you mean {meant}?" if meant else ""
        raise BadQuery(f"A key is neither eight hex digits nor a keyword of PS3.6.{hint}")
    return tag


def _included(fields: Iterable[str]) -> tuple[str, ...]:
    """The tags asked for, private ones too; of a path, the sequence that it begins with."""
    tags: dict[str, None] = {}
    for field in fields:
        path = [step.upper() if _TAG(step) else _tag_of_keyword(step) for step in field.split(".")]
        tags[path[0]] = None
        if len(tags) > MOST_FIELDS:
            raise BadQuery(f"A search may ask for at most {MOST_FIELDS} fields.")
    return tuple(tags)


def _number(values: dict[str, list[str]], name: str, default: int) -> int:
    given = values.get(name)
    if given is None:
        return default
    if len(given) > 1 or not _NUMBER(given[0]):
        raise BadQuery(f"{name} is one number, zero or more.")
    return int(given[0])


def _is_true(values: dict[str, list[str]], name: str) -> bool:
    given = values.get(name, ["false"])
    if len(given) > 1 or given[0] not in {"true", "false"}:
        raise BadQuery(f"{name} is true or false.")
    return given[0] == "true"
