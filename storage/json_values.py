"""One value of each VR as JSON (PS3.18 F.2): quickly where it is regular, and never wrongly where it is not.

A quick encoder takes the bytes of a value and answers the inside of the JSON `Value` array, or None for a value that
`irregular` has to look at: text beyond plain ASCII, padded or empty values, odd numbers. What no JSON number can say
exactly is said as text; what is not finite becomes `null`.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable

import orjson

from storage.scope import Scope
from storage.text_value import SINGLE_VRS, texts

Quick = Callable[[Scope, bytes], bytes | None]

_PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet not in b'"\\')  # ASCII that JSON shows as it is
_SPACE = 0x20
_SEVERAL = re.compile(rb"[!#-\[\]-~]++(?:\\[!#-\[\]-~]++)++").fullmatch  # several values, none empty, no spaces

_DIGITS = rb"-?(?:0(?:\.[0-9]{1,15})?|[1-9][0-9]{0,8}(?:\.[0-9]{1,6})?|[1-9][0-9]{0,3}\.[0-9]{1,11}|[1-9][0-9]{9,14})"
_EXACT_NUMBERS = re.compile(_DIGITS + rb"(?:\\" + _DIGITS + rb")*+").fullmatch  # at most 15 digits each: exact
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,4}))?").fullmatch
_EXACT_DIGITS = 15  # a double holds any decimal number of so many digits
_EXACT_INTEGER = 2**53  # and any integer up to here
_SMALLEST, _BIGGEST = 1e-300, 1e300  # beyond them doubles lose digits

_WORDS = {"OW": "H", "OL": "I", "OF": "I", "OD": "Q", "OV": "Q"}


def irregular(vr: str, scope: Scope, raw: bytes) -> bytes | None:
    """The JSON values of any text, decoded and split; None when there is nothing but padding."""
    values = texts(vr, raw, scope.characters)
    if not values:
        return None
    if vr == "PN":
        return orjson.dumps([_component_groups(name) for name in values])[1:-1]
    if vr in {"DS", "IS"}:
        return b",".join(map(_decimal, values))
    return orjson.dumps([value or None for value in values])[1:-1]


def little_endian(value: bytes, vr: str) -> bytes:
    """The words of a big endian value in little endian order, in which all bulk data travels (PS3.18 F.2.7)."""
    if vr not in _WORDS or len(value) % array(_WORDS[vr]).itemsize:
        return value
    words = array(_WORDS[vr], value)
    words.byteswap()
    return words.tobytes()


def _texts(scope: Scope, raw: bytes) -> bytes | None:  # noqa: ARG001 - plain ASCII is the same in every character set
    value = raw.rstrip(b" \0")
    if not value.translate(None, _PLAIN):
        return b'"%b"' % value if value and value[0] != _SPACE else None
    return b'"%b"' % value.replace(b"\\", b'","') if _SEVERAL(value) else None


def _single_text(scope: Scope, raw: bytes) -> bytes | None:  # noqa: ARG001 - as above
    value = raw.rstrip(b" \0")
    return b'"%b"' % value if value and not value.translate(None, _PLAIN) else None


def _person_name(scope: Scope, raw: bytes) -> bytes | None:  # noqa: ARG001 - as above
    value = raw.rstrip(b" \0")
    if value and b"=" not in value and not value.translate(None, _PLAIN):
        return b'{"Alphabetic":"%b"}' % value
    return None


def _component_groups(name: str) -> dict[str, str] | None:
    """A person name by component group, the empty groups left out (PS3.18 F.2.2)."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
    return {group: text.rstrip() for group, text in groups if text.rstrip()} or None


def _decimals(scope: Scope, raw: bytes) -> bytes | None:  # noqa: ARG001 - digits are the same in every character set
    value = raw.strip(b" \0")
    return value.replace(b"\\", b",") if _EXACT_NUMBERS(value) else None


def _decimal(text: str) -> bytes:
    """One IS or DS: a JSON number if every reader gets back the number that was written, else its text."""
    found = _NUMBER(text)
    if found is None:
        return orjson.dumps(text or None)
    sign, whole, fraction, exponent = found.groups(default="")
    digits = (whole + fraction).strip("0")
    if not whole + fraction or not (len(digits) <= _EXACT_DIGITS or _is_exact_integer(text)):
        return orjson.dumps(text or None)
    if digits and not _SMALLEST < abs(float(text)) < _BIGGEST:
        return orjson.dumps(text)
    if _JSON_NUMBER(text):
        return text.encode()
    minus = "-" if sign == "-" else ""
    tail = (f".{fraction}" if fraction else "") + (f"e{exponent}" if exponent else "")
    return f"{minus}{whole.lstrip('0') or '0'}{tail}".encode()


def _is_exact_integer(text: str) -> bool:
    return len(text) <= _EXACT_DIGITS + 2 and text.lstrip("+-").isdigit() and abs(int(text)) <= _EXACT_INTEGER


def _numbers(code: str, size: int) -> Quick:
    one = {True: struct.Struct("<" + code).unpack, False: struct.Struct(">" + code).unpack}

    def encode(scope: Scope, raw: bytes) -> bytes | None:
        order = scope.data_set.little_endian
        if len(raw) == size:
            return orjson.dumps(one[order](raw)[0])
        return orjson.dumps(struct.unpack(f"{'<' if order else '>'}{len(raw) // size}{code}", raw))[1:-1]

    return encode


def _long_numbers(code: str) -> Quick:
    """64-bit integers, as text where a double is not exact (PS3.18 F.2.3)."""

    def encode(scope: Scope, raw: bytes) -> bytes | None:
        order = "<" if scope.data_set.little_endian else ">"
        values = struct.unpack(f"{order}{len(raw) // 8}{code}", raw)
        return orjson.dumps([value if abs(value) <= _EXACT_INTEGER else str(value) for value in values])[1:-1]

    return encode


def _tags(scope: Scope, raw: bytes) -> bytes | None:
    order = "<" if scope.data_set.little_endian else ">"
    numbers = struct.unpack(f"{order}{len(raw) // 4 * 2}H", raw)
    return b",".join(b'"%04X%04X"' % pair for pair in zip(numbers[::2], numbers[1::2], strict=True))


QUICK: dict[str, Quick] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"), _texts),
    **dict.fromkeys(SINGLE_VRS, _single_text),
    **dict.fromkeys(("DS", "IS"), _decimals),
    "PN": _person_name,
    "AT": _tags,
    "FD": _numbers("d", 8),
    "FL": _numbers("f", 4),
    "SL": _numbers("i", 4),
    "SS": _numbers("h", 2),
    "SV": _long_numbers("q"),
    "UL": _numbers("I", 4),
    "US": _numbers("H", 2),
    "UV": _long_numbers("Q"),
}
"""The quick encoder of each VR that has values; those of numbers want whole numbers."""
