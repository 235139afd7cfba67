"""What a data set is made of (PS3.5 7): elements whose values stay where they are, in the bytes of the instance."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

UNDEFINED = 0xFFFFFFFF
"""A length that a delimiter tells instead (PS3.5 7.1.1)."""

PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanLimits:
    """What an instance may ask of this gateway. Real instances stay far below; the failure reason is C000H or A700H."""

    nesting: int = 32
    """Sequences inside sequences. Structured reports reach about 15; parsers that recurse die near 200."""
    elements: int = 50_000
    """Data elements and items. A parser needs 20 microseconds for each: one second for so many."""
    private_elements: int = 5_000
    """Private data elements among them: each asks for its creator."""
    fragments: int = 1_000_000
    """Items of encapsulated pixel data: the tiles of the largest whole-slide images."""
    value_bytes: int = 1024 * 1024
    """One value that cannot become bulk data, since it is decoded in memory."""
    header_bytes: int = 64 * 1024 * 1024
    """All long values together that cannot become bulk data."""
    object_bytes: int = 16 * 1024 * 1024 * 1024
    """One instance, also after inflation."""
    inflated_bytes: int = 64 * 1024 * 1024
    """What any deflated data set may inflate to."""
    inflation: int = 20
    """What a large one may inflate to, as a multiple of its deflated size. Images inflate 2 to 10 times."""


@dataclass(slots=True)
class Fragments:
    """Encapsulated pixel data (PS3.5 A.4): where its Basic Offset Table and each fragment lie, without item headers."""

    table_offset: int
    table_length: int
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("Q"))


class Element(NamedTuple):
    """A data element: its VR (by the dictionary where the bytes do not tell), and where its value lies.

    `length` counts bytes, and includes the closing delimiter of an undefined length. `vr` may be `US or SS` and the
    like in implicit VR. `items` are the items of a sequence, or the fragments of encapsulated pixel data.
    """

    tag: int
    vr: str
    offset: int
    length: int
    items: list[DataSet] | Fragments | None


@dataclass(slots=True)
class DataSet:
    """A data set or sequence item: its elements in ascending order of tags, each tag once."""

    elements: list[Element]
    implicit: bool
    little_endian: bool

    def find(self, tag: int) -> Element | None:
        """The element with this tag."""
        index = bisect_left(self.elements, (tag,))
        found = self.elements[index] if index < len(self.elements) else None
        return found if found is not None and found.tag == tag else None
