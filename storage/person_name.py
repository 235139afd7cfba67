"""Person names folded for matching: two spellings of a name that a clerk would take for one have the same key.

PS3.4 C.2.2.2 leaves it to the server whether a person name matches without regard to case and accents; here it does.
The same folding is applied to what is asked for, so `*` and `?` stand in a folded pattern as they stood.
"""

from __future__ import annotations

import unicodedata
from typing import Final

GROUP, COMPONENT = "=", "^"
KEY_LENGTH: Final = 400
"""Characters of the longest key: five components of 64 in one group, and what two short groups may add."""

# accents of Latin, Greek and Cyrillic letters; the marks of other scripts tell letters apart
_ACCENTS = range(0x0300, 0x0370)


def name_key(name: str | None) -> str | None:
    """The key of a person name (PS3.5 6.2.1); None for a name without a letter, or one too long to be a name."""
    key = fold(name or "")
    return key if key.strip("=^ ") and len(key) <= KEY_LENGTH else None


def fold(text: str) -> str:
    """A person name or a pattern of one, without case, accents, compatibility forms, and padding of its components."""
    groups = [_fold_group(group) for group in _plain(text).split(GROUP)]
    return GROUP.join(groups).rstrip(GROUP)


def _fold_group(group: str) -> str:
    components = [" ".join(component.split()) for component in group.split(COMPONENT)]
    return COMPONENT.join(components).rstrip(COMPONENT)


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    # folding the case may decompose, and decomposing may bring new cases: twice is enough (Unicode 3.13, D146)
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    return unicodedata.normalize("NFC", "".join(letter for letter in decomposed if ord(letter) not in _ACCENTS))
