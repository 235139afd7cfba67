"""Text that others wrote, shown so that nothing in it is invisible: a name can be made to look like another one.

Controls, direction marks and zero-width characters are shown by their code points (Unicode TR 36, 2.10.2), and a word
whose letters come from several alphabets is pointed out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from markupsafe import Markup

UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
LOOKALIKES: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
_MIXED: Final = "letters of several alphabets"


def shown(text: str) -> Markup:
    """The text as HTML, isolated from the direction of what stands around it."""
    marked = Markup().join(_marks(text))
    mixed = any(map(_is_mixed, text.split()))
    note = Markup(' <span class="mark">{}</span>').format(_MIXED) if mixed else Markup()
    return Markup("<bdi>{}</bdi>{}").format(marked, note)


def _marks(text: str) -> Iterator[Markup]:
    for unseen, run in groupby(text, lambda letter: unicodedata.category(letter) in UNSEEN):
        letters = "".join(run)
        if not unseen:
            yield Markup("{}").format(letters)
            continue
        for letter in letters:
            yield Markup('<span class="mark">U+{:04X}</span>').format(ord(letter))


def _is_mixed(word: str) -> bool:
    alphabets = {unicodedata.name(letter, "").partition(" ")[0] for letter in word if letter.isalpha()}
    return len(alphabets & LOOKALIKES) > 1
