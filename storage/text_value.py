"""The texts of a value (PS3.5 6.2): decoded, split at backslashes where the VR allows several, padding removed."""

from __future__ import annotations

from storage.character_set import DEFAULT, CharacterSet

CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""The VRs whose text follows Specific Character Set (PS3.5 6.1.2.3)."""

SINGLE_VRS = frozenset({"LT", "ST", "UR", "UT"})
"""The VRs in which a backslash is a character like any other (PS3.5 6.2)."""

TEXT_VRS = CHARSET_VRS | SINGLE_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"}

PADDING = " \0"


def texts(vr: str, value: bytes, characters: CharacterSet) -> list[str]:
    """The texts of one value; an empty one stands where two backslashes meet. No text at all: an empty list."""
    text = (characters if vr in CHARSET_VRS else DEFAULT).decode(value).rstrip(PADDING)
    if not text:
        return []
    if vr in SINGLE_VRS:
        return [text]
    parts = [part.rstrip(PADDING) for part in text.split("\\")]
    return [part.lstrip(" ") for part in parts] if vr in {"AE", "DS", "IS"} else parts
