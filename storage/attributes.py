"""Single attributes of a scanned instance: the texts that the catalog indexes, and the whereabouts of bulk data."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from storage.elements import DataSet, Element, Fragments
from storage.octets import Source
from storage.scan import IDENTITY_TAGS, Structure
from storage.scope import Scope
from storage.text_value import TEXT_VRS, texts
from storage.value_representation import public_vr

Path = tuple[int, ...]
"""Tags from the data set down: sequences first, the attribute last."""

UNREADABLE = "\0"
"""Stands for an identifying value that is stated, but is no text."""

_PATH = re.compile(r"[0-9A-F]{8}(?:/[0-9]{1,6}/[0-9A-F]{8}){0,32}").fullmatch
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\N{REPLACEMENT CHARACTER}]")
_INTEGERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}
_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8}


class Bulk(NamedTuple):
    """Where one binary value lies, in the bytes that `Structure.octets` counts.

    Words of a big endian value go out swapped (`dicom_json.little_endian`). With `fragments`, the span is that of the
    whole encapsulated stream, item headers included.
    """

    offset: int
    length: int
    vr: str
    little_endian: bool
    fragments: Fragments | None


def values_of(structure: Structure, source: Source, paths: Iterable[Path]) -> Mapping[Path, tuple[str, ...]]:
    """The texts of the attributes at `paths`, decoded and without padding; of all items where a path leads into them.

    Integers come as their decimal text, person names with their component groups joined by `=`. An attribute that is
    absent, empty, or not written in the kind of VR that the dictionary gives it has no texts; bytes that are no text
    come as U+FFFD. But what identifies (`IDENTITY_TAGS`) and cannot be read comes as `UNREADABLE`: it is stated, so
    that no default may stand in for it, and two of its kind must never look like one and the same.
    """
    root = Scope.of(structure.octets(source), structure.data_set)
    return {path: _readable(path, _values(root, path)) for path in paths}


def locate_bulk(structure: Structure, path: str) -> Bulk | None:
    """The value that a bulk data reference of DICOM JSON names: `7FE00010`, or `00082112/0/00880200` inside an item."""
    if not _PATH(path):
        return None
    steps = path.split("/")
    data_set: DataSet | None = structure.data_set
    for tag, index in zip(steps[:-1:2], steps[1::2], strict=True):
        data_set = _item(data_set, int(tag, 16), int(index)) if data_set else None
    element = data_set.find(int(steps[-1], 16)) if data_set else None
    if data_set is None or element is None or isinstance(element.items, list):
        return None
    vr = "OW" if element.vr.endswith("OW") else element.vr
    return Bulk(element.offset, element.length, vr, data_set.little_endian, element.items)


def _readable(path: Path, values: list[str]) -> tuple[str, ...]:
    if path[0] in IDENTITY_TAGS:
        return tuple(UNREADABLE if _CONTROL.search(value) else value for value in values)
    return tuple(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", value) for value in values if value != UNREADABLE)


def _item(data_set: DataSet, tag: int, index: int) -> DataSet | None:
    element = data_set.find(tag)
    items = element.items if element is not None and isinstance(element.items, list) else []
    return items[index] if index < len(items) else None


def _values(scope: Scope, path: Path) -> list[str]:
    element = scope.data_set.find(path[0])
    if element is None:
        return []
    if len(path) == 1:
        found = _texts(scope, element)
        return [UNREADABLE] if found is None else found
    if not isinstance(element.items, list):
        return [UNREADABLE] if element.length else []
    items = element.items
    return [value for item in items for value in _values(Scope.of(scope.octets, item, scope), path[1:])]


def _texts(scope: Scope, element: Element) -> list[str] | None:
    """The texts of an element; None for one that is written in another kind of VR than it should be."""
    vr, expected = scope.vr(element.vr), scope.vr(public_vr(element.tag))
    if not element.length:
        return []
    if (vr in TEXT_VRS) != (expected in TEXT_VRS):
        return None
    value = scope.octets.read(element.offset, element.length) if vr in TEXT_VRS or vr in _INTEGERS else b""
    if vr in TEXT_VRS:
        return [text.strip(" ") for text in texts(vr, value, scope.characters)]
    if vr not in _INTEGERS or len(value) % _SIZES[vr]:
        return None
    order = "<" if scope.data_set.little_endian else ">"
    return [str(number) for number in struct.unpack(f"{order}{len(value) // _SIZES[vr]}{_INTEGERS[vr]}", value)]
