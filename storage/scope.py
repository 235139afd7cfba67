"""What a data set hands down to the items of its sequences (PS3.5 7.5.3): character set and pixel representation."""

from __future__ import annotations

from dataclasses import dataclass

from storage.character_set import DEFAULT, VALUE_LENGTH, CharacterSet, character_set
from storage.elements import DataSet
from storage.octets import Octets

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION, LUT_DESCRIPTOR = 0x00280103, 0x00283002


@dataclass(slots=True)
class Scope:
    """A data set in its place, with what it needs from those around it."""

    octets: Octets
    data_set: DataSet
    parent: Scope | None
    characters: CharacterSet

    @classmethod
    def of(cls, octets: Octets, data_set: DataSet, parent: Scope | None = None) -> Scope:
        """The scope of a data set, or of an item inside `parent`."""
        characters = parent.characters if parent else DEFAULT
        for element in data_set.elements:  # it stands among the first
            if element.tag >= SPECIFIC_CHARACTER_SET:
                if element.tag == SPECIFIC_CHARACTER_SET and element.vr in {"CS", "UN"}:
                    characters = character_set(octets.read(element.offset, min(element.length, VALUE_LENGTH + 1)))
                break
        return cls(octets, data_set, parent, characters)

    def vr(self, vr: str) -> str:
        """The VR that a choice like `US or SS` comes to here (PS3.5 A.1, PS3.3 C.7.6.3.1 and C.11.1)."""
        if vr == "US or SS":
            return "SS" if self._pixels_are_signed() else "US"
        if vr == "US or OW":
            return "US" if self._number(LUT_DESCRIPTOR) == 1 else "OW"
        return "OW" if vr.endswith("OW") else vr

    def _pixels_are_signed(self) -> bool:
        scope: Scope | None = self
        while scope is not None:
            found = scope._number(PIXEL_REPRESENTATION)  # noqa: SLF001 - the same class
            if found is not None:
                return found == 1
            scope = scope.parent
        return False

    def _number(self, tag: int) -> int | None:
        """The first 16-bit number of an element of this data set."""
        element = self.data_set.find(tag)
        if element is None or element.length < 2:  # noqa: PLR2004 - the bytes of a US
            return None
        return int.from_bytes(self.octets.read(element.offset, 2), "little" if self.data_set.little_endian else "big")
