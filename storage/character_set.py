"""Specific Character Set (PS3.3 C.12.1.1.2) and its code extensions (PS3.5 6.1.2.5): the bytes of a value to text.

Decoding never fails: what a character set cannot read becomes U+FFFD, and an unknown character set is read as Latin-1,
which keeps every byte apart. Names are taken from the standard alone: an instance cannot choose a codec of Python's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, python_encoding

LATIN_1 = "iso8859"
ESCAPE = 0x1B
VALUE_LENGTH = 256  # more than all character sets of the standard together

_PARTS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_DELIMITERS = re.compile(rb"[\t\n\f\r]")
_STATEFUL = frozenset({"iso2022_jp", "iso2022_jp_2"})  # these codecs of Python's want to see the escape sequences
_MISSPELT = re.compile(r"ISO.(?:(IR.*)|2022.IR.(.*))")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """How the text of one data set is encoded: the codec it begins with, and those it may escape to."""

    encodings: tuple[str, ...]

    def decode(self, value: bytes) -> str:
        """The text of a value, its backslashes and padding included."""
        first = self.encodings[0]
        if ESCAPE not in value:
            return value.decode(first, "replace")
        return "".join(self._decode_part(part) for part in _PARTS.findall(value))

    def _decode_part(self, part: bytes) -> str:
        first = self.encodings[0]
        width = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
        encoding = CODES_TO_ENCODINGS.get(part[:width])
        if encoding is None or (encoding not in self.encodings and encoding != LATIN_1):
            return part.decode(first, "replace")
        if encoding in _STATEFUL:
            return part.decode(encoding, "replace")
        part = part[width:]
        reset = _DELIMITERS.search(part)  # a line end takes the text back to the first character set
        end = reset.start() if reset else len(part)
        return part[:end].decode(encoding, "replace") + part[end:].decode(first, "replace")


DEFAULT = CharacterSet((LATIN_1,))
"""What applies without a Specific Character Set: ASCII, and no byte beyond it is lost."""


@lru_cache(maxsize=64)
def character_set(value: bytes) -> CharacterSet:
    """The character set named by the value of Specific Character Set (0008,0005)."""
    if len(value) > VALUE_LENGTH:
        return DEFAULT
    names = [name.strip() for name in value.decode("latin-1").rstrip(" \0").split("\\")]
    if names[0] in STAND_ALONE_ENCODINGS:  # these allow no code extensions (PS3.3 C.12.1.1.2)
        names = names[:1]
    extensions = [_encoding(name) for name in names[1:] if name not in STAND_ALONE_ENCODINGS]
    return CharacterSet((_encoding(names[0]), *extensions))


def _encoding(name: str) -> str:
    found = python_encoding.get(name)
    misspelt = _MISSPELT.fullmatch(name) if found is None else None
    if misspelt is not None:
        single, extended = misspelt.groups()
        corrected = f"ISO_{single}" if single else f"ISO 2022 IR {extended}"
        found = python_encoding.get(corrected)
    return found or LATIN_1
