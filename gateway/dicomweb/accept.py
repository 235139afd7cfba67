"""Content negotiation (PS3.18 8.7): what the Accept header and the `accept` parameter ask for, against what is offered.

The parameter is considered before the header, each ranked by its own quality values (8.7.8.1). Types and parameter
names are read without regard to case, and a value may stand unquoted, as many viewers send `type`. A single part type
is passed over where the answer has several parts (10.4.4). Without Accept and without the parameter the default is
sent (RFC 9110 12.5.1). Every step is linear in the length of what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import NotAcceptable

MULTIPART: Final = "multipart/related"
AS_STORED: Final = "*"
LONGEST: Final = 16_384
MOST_RANGES: Final = 256

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_MEDIA_RANGE = re.compile(rf"\s*+({_NAME})/({_NAME})\s*+").match
_PARAMETER = re.compile(rf';\s*+(?:({_NAME})\s*+=\s*+({_QUOTED}|[^\s;,"]*+)\s*+)?', re.DOTALL).match
_REST = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.?)*+(?:"|\Z))*+', re.DOTALL).match
_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII).fullmatch
_TRANSFER_SYNTAX = re.compile(r"[0-9.]{1,64}|\*", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A media type that can be sent: `in_parts` as multipart/related, `alone` as a single part.

    `with_syntax`: the transfer-syntax parameter means something for it (8.7.3.5.2).
    """

    media_type: str
    in_parts: bool = False
    alone: bool = False
    with_syntax: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """What to send: the media type (of each part, in a multipart answer) and the transfer syntax that was named.

    `transfer_syntax` is None where none was named, `*` for whatever is stored. `others` are the further ones that were
    asked for, best first: which of them an instance can be sent as is known only when it has been found.
    """

    media_type: str
    transfer_syntax: str | None
    single_part: bool
    others: tuple[Representation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """One media range (RFC 9110 12.5.1): the type asked for, in parts or not."""

    media_type: str
    in_parts: bool
    transfer_syntax: str | None
    quality: float

    @property
    def wildness(self) -> int:
        return self.media_type.count("*")

    def covers(self, media_type: str) -> bool:
        kind, _, subtype = self.media_type.partition("/")
        return self.media_type == media_type or kind == "*" or (subtype == "*" and media_type.startswith(f"{kind}/"))


def negotiate(accept_values: Sequence[str], query_accept: Sequence[str], offers: Sequence[Offer]) -> Representation:
    """The best of what was asked for and is offered; the first offer is the default of its resource category.

    Raises
    ------
    NotAcceptable : none of it is offered
    """
    if not accept_values and not query_accept:
        return _as_default(offers[0], None)
    for values in (query_accept, accept_values):
        found = _acceptable(values, offers)
        if found:
            return Representation(
                media_type=found[0].media_type,
                transfer_syntax=found[0].transfer_syntax,
                single_part=found[0].single_part,
                others=tuple(found[1:]),
            )
    raise NotAcceptable


def _acceptable(values: Sequence[str], offers: Sequence[Offer]) -> list[Representation]:
    """Every representation that is asked for and offered, best first."""
    ranges = sorted(_ranges(",".join(values)), key=lambda one: (-one.quality, one.wildness))
    fits = [(one, fit) for one in ranges for offer in offers if (fit := _fit(one, offer)) is not None]
    refused = {fit for one, fit in fits if one.quality == 0 and not one.wildness}
    return list(dict.fromkeys(fit for one, fit in fits if one.quality > 0 and fit not in refused))


def _fit(asked: _Range, offer: Offer) -> Representation | None:
    """The offer in the form that is asked for."""
    if not asked.covers(offer.media_type):
        return None
    syntax = asked.transfer_syntax if offer.with_syntax else None
    if asked.in_parts:
        return _representation(offer, syntax, single_part=False) if offer.in_parts else None
    if asked.wildness:
        return _as_default(offer, syntax)
    return _representation(offer, syntax, single_part=True) if offer.alone else None


def _as_default(offer: Offer, syntax: str | None) -> Representation:
    return _representation(offer, syntax, single_part=not offer.in_parts)


def _representation(offer: Offer, syntax: str | None, *, single_part: bool) -> Representation:
    return Representation(media_type=offer.media_type, transfer_syntax=syntax, single_part=single_part)


def _ranges(text: str) -> list[_Range]:
    """The media ranges of an Accept value; what cannot be read asks for nothing.

    Raises
    ------
    NotAcceptable : it is longer than any client has need of
    """
    if len(text) > LONGEST:
        raise NotAcceptable("The Accept header is too long.")
    found: list[_Range] = []
    for number, (kind, subtype, parameters) in enumerate(_split(text)):
        if number >= MOST_RANGES:
            raise NotAcceptable("The Accept header names too many media types.")
        one = _range(f"{kind}/{subtype}".lower(), parameters)
        if one is not None:
            found.append(one)
    return found


def _range(media_type: str, parameters: dict[str, str]) -> _Range | None:
    quality = _QUALITY(parameters.get("q", "1"))
    syntax = parameters.get("transfer-syntax")
    if quality is None or (syntax is not None and not _TRANSFER_SYNTAX(syntax)):
        return None
    in_parts = media_type in {MULTIPART, "multipart/*"}
    if in_parts:
        media_type = parameters.get("type", "*/*").lower()
    return _Range(
        media_type=media_type, in_parts=in_parts, transfer_syntax=syntax, quality=float(quality.group().rstrip("."))
    )


def _split(text: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Type, subtype and parameters of each element of the list that can be read."""
    at = 0
    while at < len(text):
        media_range = _MEDIA_RANGE(text, at)
        parameters: dict[str, str] = {}
        if media_range is not None:
            at = _read_parameters(text, media_range.end(), parameters)
            if at == len(text) or text[at] == ",":
                yield media_range[1], media_range[2], parameters
        rest = _REST(text, at)
        at = (rest.end() if rest is not None else len(text)) + 1


def _read_parameters(text: str, at: int, into: dict[str, str]) -> int:
    """Read `; name=value` as often as it stands there; the first of a name counts."""
    while (parameter := _PARAMETER(text, at)) is not None:
        name, value = parameter.groups()
        if name is not None:
            into.setdefault(name.lower(), _unquoted(value))
        at = parameter.end()
    return at


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL) if value.startswith('"') else value
