"""Value representations (PS3.5 6.2): how each is laid out, and which one an element has when its bytes do not say."""

from __future__ import annotations

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._private_dict import private_dictionaries

LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Explicit VRs whose length takes 32 bits (PS3.5 7.1.2)."""

BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
"""VRs that DICOM JSON shows as InlineBinary or BulkDataURI (PS3.18 F.2.7)."""

SHORT = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM"}
    | {"UI", "UL", "US"}
)
"""Explicit VRs whose length takes 16 bits."""

EXPLICIT = {vr.encode(): (vr, (vr in LONG) + (vr in {"SQ", "UN"})) for vr in (*SHORT, *LONG)}
"""The VR as it stands in the bytes: its name, and 0 for a length of 16 bits, 1 of 32 bits, 2 if items may follow."""

OPAQUE = frozenset({*BINARY, "OB or OW", "US or OW", "US or SS or OW"})
"""VRs whose long values are bulk data, whatever they turn out to be."""

IMPLICIT = {tag: entry[0] for tag, entry in DicomDictionary.items() if entry[0] != "NONE"}
"""The VR of each public element (PS3.6); a few are named like `US or SS` and depend on other elements."""

PRIVATE_CREATORS = range(0x0010, 0x0100)
"""The elements of a private group that reserve a block for a named creator (PS3.5 7.8.1)."""


def _masked_entries() -> dict[int, dict[int, dict[int, str]]]:
    """Entries that stand for many tags, like overlays 60xx (PS3.5 7.6): first byte of the tag, then mask, then tag."""
    by_first_byte: dict[int, dict[int, dict[int, str]]] = {}
    for text, entry in RepeatersDictionary.items():
        mask = int("".join("0" if digit == "x" else "F" for digit in text), 16)
        tag = int(text.replace("x", "0"), 16)
        by_first_byte.setdefault(tag >> 24, {}).setdefault(mask, {})[tag] = entry[0]
    return by_first_byte


_MASKED = _masked_entries()


def public_vr(tag: int) -> str:
    """The VR of a public element by the dictionary (PS3.6); `UN` for one that is not listed."""
    found = IMPLICIT.get(tag)
    if found is not None:
        return found
    for mask, entries in _MASKED.get(tag >> 24, {}).items():
        if tag & mask in entries:
            return entries[tag & mask]
    return "UN" if tag & 0xFFFF else "UL"  # every group may state its length


def private_vr(tag: int, creator: str) -> str:
    """The VR of a private element by its creator's published dictionary; `UN` when nobody published one."""
    if tag & 0xFFFF in PRIVATE_CREATORS:
        return "LO"
    published = private_dictionaries.get(creator)
    if published is None:
        return "UN"
    text = f"{tag:08X}"
    for mask in (text, f"{text[:4]}xx{text[6:]}", f"{text[:2]}xxxx{text[6:]}"):
        if mask in published:
            return str(published[mask][0]).replace("_", " or ")
    return "UN"
