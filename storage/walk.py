"""The structure of a data set (PS3.5 7): one iterative walk over element headers that finds every value and reads none.

The walk believes no length before it was compared with the bytes that are there, keeps its own stack instead of
recursing, and refuses whatever two readers could understand in two ways.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

from storage.elements import PIXEL_DATA, UNDEFINED, DataSet, Element, Fragments, ScanLimits, tag_text
from storage.octets import NEAR_BYTES, Octets
from storage.unusable import Malformed, OverLimit, TagsOutOfOrder
from storage.value_representation import EXPLICIT, IMPLICIT, OPAQUE, PRIVATE_CREATORS, private_vr, public_vr

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DELIMITERS = 0xFFFE  # the group of the three above
META_END = 0x0002FFFF  # up to it lie the groups that no data set has

HEADER_BYTES = 8  # tag and length; with 12 bytes the longest header of an element is at hand
LONG_HEADER_BYTES = 12
SHORT_VALUE = 1024  # up to here a value is counted by the limit on elements alone
KNOWN_UN = 0xFFFF  # a longer value is UN because 16 bits cannot tell its length, so the dictionary is not asked
CREATOR_LENGTH = 64  # LO: the longest name of a private creator

_EXPLICIT = {True: struct.Struct("<HH2sH").unpack_from, False: struct.Struct(">HH2sH").unpack_from}
_LENGTH = {True: struct.Struct("<I").unpack_from, False: struct.Struct(">I").unpack_from}
_IMPLICIT = struct.Struct("<HHI").unpack_from
_HEADER = {True: _IMPLICIT, False: struct.Struct(">HHI").unpack_from}


@dataclass(slots=True)
class _OpenDataSet:
    """A data set that is being read, up to `end` or, if its length is undefined, up to a delimiter before `end`."""

    data_set: DataSet
    end: int
    undefined: bool
    previous: int = -1
    creators: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _OpenSequence:
    """A sequence that is being read; it takes its place in its parent when its length is known."""

    parent: _OpenDataSet
    tag: int
    offset: int
    items: list[DataSet]
    end: int
    undefined: bool
    implicit: bool
    little_endian: bool


def walk(octets: Octets, data_set: DataSet, *, first: int, end: int, above: int, limits: ScanLimits) -> None:
    """Fill `data_set` with the elements between the byte offsets `first` and `end`, whose tags all exceed `above`.

    Raises Malformed when the structure does not hold together, TagsOutOfOrder for double or descending tags, and
    OverLimit beyond `limits`.
    """
    _Walk(octets, limits, first).run(_OpenDataSet(data_set, end, undefined=False, previous=above))


def find_end_of_group(octets: Octets, position: int, wanted: int) -> int:
    """The byte offset behind the explicit VR little endian elements of one group, which may be absent.

    Raises Malformed when an element of the group is broken.
    """
    while octets.size - position >= HEADER_BYTES:
        header = octets.read(position, min(LONG_HEADER_BYTES, octets.size - position))
        group, number, code, length = _EXPLICIT[True](header)
        if group != wanted:
            break
        _, layout = EXPLICIT.get(code, ("", 1))
        if layout and len(header) < LONG_HEADER_BYTES:
            raise _truncated(position)
        offset = position + (LONG_HEADER_BYTES if layout else HEADER_BYTES)
        position = offset + (_LENGTH[True](header, HEADER_BYTES)[0] if layout else length)
        if position > octets.size:
            raise _bad_length(group << 16 | number, offset, odd=False)
    return position


class _Walk:
    def __init__(self, octets: Octets, limits: ScanLimits, position: int) -> None:
        self.octets, self.limits, self.position = octets, limits, position
        self.elements_left = limits.elements
        self.private_left = limits.private_elements
        self.header_left = limits.header_bytes

    def run(self, root: _OpenDataSet) -> None:
        stack: list[_OpenDataSet | _OpenSequence] = [root]
        deepest = 2 * self.limits.nesting + 1
        while stack:
            level = stack[-1]
            opened: _OpenDataSet | _OpenSequence | None
            if isinstance(level, _OpenSequence):
                opened = self._next_item(level)
            elif level.data_set.implicit:
                opened = self._implicit_elements(level)
            else:
                opened = self._explicit_elements(level)
            if opened is None:
                stack.pop()
            elif len(stack) >= deepest:
                raise OverLimit(f"Sequences are nested more than {self.limits.nesting} deep.")
            else:
                stack.append(opened)

    def _explicit_elements(self, level: _OpenDataSet) -> _OpenSequence | None:  # noqa: C901, PLR0912 - the hot loop
        """Elements up to the next sequence, which is the answer, or up to the end of the data set: None."""
        little_endian = level.data_set.little_endian
        unpack, unpack_length = _EXPLICIT[little_endian], _LENGTH[little_endian]
        append, new = level.data_set.elements.append, tuple.__new__
        position, end, previous = self.position, level.end, level.previous
        buffer, start = self.octets.window(position)
        reach = start + len(buffer) - LONG_HEADER_BYTES
        left = self.elements_left
        while position < end:
            if end - position < HEADER_BYTES:
                raise _truncated(position)
            if position > reach and reach + LONG_HEADER_BYTES < end:
                buffer, start = self.octets.window(position)
                reach = start + len(buffer) - LONG_HEADER_BYTES
            group, number, code, length = unpack(buffer, position - start)
            tag = group << 16 | number
            kind = EXPLICIT.get(code)
            if kind is None:
                if group == DELIMITERS:
                    break
                raise Malformed(f"{tag_text(tag)} at byte {position} has an unknown value representation.")
            if tag <= previous:
                raise _out_of_order(previous, tag, position)
            previous, (vr, layout) = tag, kind
            offset = position + HEADER_BYTES
            left -= 1
            if left < 0:
                raise OverLimit(f"The instance has more than {self.limits.elements} data elements.")
            if layout:
                if end - position < LONG_HEADER_BYTES:
                    raise _truncated(position)
                (length,) = unpack_length(buffer, offset - start)
                offset += 4
                if layout > 1 or length == UNDEFINED:
                    self.position, self.elements_left, level.previous = offset, left, previous
                    opened = self._nested(level, tag, vr, length)
                    if opened is not None:
                        return opened
                    position = self.position
                    continue
            position = offset + length
            if position > end or length & 1:
                raise _bad_length(tag, offset, odd=position <= end)
            if length > SHORT_VALUE:
                self._weigh(tag, vr, length)
            if group & 1:
                self._private(level, tag, offset, length)
            append(new(Element, (tag, vr, offset, length, None)))
        self.position, self.elements_left = position, left
        self._end_data_set(level)
        return None

    def _implicit_elements(self, level: _OpenDataSet) -> _OpenSequence | None:  # noqa: C901 - the hot loop
        """The same for implicit VR (PS3.5 7.1.3), where the dictionary knows what the bytes do not tell."""
        append, new = level.data_set.elements.append, tuple.__new__
        position, end, previous = self.position, level.end, level.previous
        buffer, start = self.octets.window(position)
        reach = start + len(buffer) - LONG_HEADER_BYTES
        while position < end:
            if end - position < HEADER_BYTES:
                raise _truncated(position)
            if position > reach and reach + LONG_HEADER_BYTES < end:
                buffer, start = self.octets.window(position)
                reach = start + len(buffer) - LONG_HEADER_BYTES
            group, number, length = _IMPLICIT(buffer, position - start)
            if group == DELIMITERS:
                break
            tag = group << 16 | number
            if tag <= previous:
                raise _out_of_order(previous, tag, position)
            previous = tag
            self.elements_left -= 1
            if self.elements_left < 0:
                raise OverLimit(f"The instance has more than {self.limits.elements} data elements.")
            vr = IMPLICIT.get(tag) or _unlisted_vr(tag, level.creators)
            offset = position + HEADER_BYTES
            if vr == "SQ" or length == UNDEFINED:
                self.position, level.previous = offset, previous
                opened = self._nested(level, tag, vr, length)
                if opened is not None:
                    return opened
                position = self.position
                continue
            position = offset + length
            if position > end or length & 1:
                raise _bad_length(tag, offset, odd=position <= end)
            if length > SHORT_VALUE:
                self._weigh(tag, vr, length)
            if group & 1:
                self._private(level, tag, offset, length)
            append(new(Element, (tag, vr, offset, length, None)))
        self.position = position
        self._end_data_set(level)
        return None

    def _nested(self, level: _OpenDataSet, tag: int, vr: str, length: int) -> _OpenSequence | None:
        """A sequence to be read next; None after an element that turned out to be none."""
        implicit = level.data_set.implicit
        if vr == "UN":  # its content is implicit VR little endian (PS3.5 6.2.2 note 4)
            implicit = True
            vr = "SQ" if length == UNDEFINED else _known_vr(tag, length, level.creators)
        if vr == "SQ":
            return self._open_sequence(level, tag, length, implicit=implicit)
        if length == UNDEFINED:
            self._encapsulated(level, tag, vr)
            return None
        offset = self.position
        self.position += length
        if self.position > level.end or length & 1:
            raise _bad_length(tag, offset, odd=self.position <= level.end)
        self._weigh(tag, vr, length)
        self._note(level, Element(tag, vr, offset, length, None))
        return None

    def _open_sequence(self, level: _OpenDataSet, tag: int, length: int, *, implicit: bool) -> _OpenSequence:
        offset, undefined = self.position, length == UNDEFINED
        end = level.end if undefined else offset + length
        if end > level.end:
            raise _bad_length(tag, offset, odd=False)
        return _OpenSequence(
            parent=level,
            tag=tag,
            offset=offset,
            items=[],
            end=end,
            undefined=undefined,
            implicit=implicit,
            little_endian=implicit or level.data_set.little_endian,
        )

    def _next_item(self, level: _OpenSequence) -> _OpenDataSet | None:
        """The next item of a sequence to be read, or None when the sequence has ended (PS3.5 7.5)."""
        unpack, position, end = _HEADER[level.little_endian], self.position, level.end
        buffer, start = self.octets.window(position)
        while level.undefined or position != end:
            if end - position < HEADER_BYTES:
                raise _truncated(position)
            if position + HEADER_BYTES > start + len(buffer):
                buffer, start = self.octets.window(position)
            group, number, length = unpack(buffer, position - start)
            tag = group << 16 | number
            position += HEADER_BYTES
            if tag == SEQUENCE_END and level.undefined and length == 0:
                break
            if tag != ITEM:
                raise Malformed(f"Byte {position - HEADER_BYTES} should begin an item of {tag_text(level.tag)}.")
            self._count()
            item = DataSet([], level.implicit, level.little_endian)
            level.items.append(item)
            if length:
                self.position = position
                return self._open_item(level, item, length)
        self.position = position
        self._end_sequence(level)
        return None

    def _open_item(self, level: _OpenSequence, item: DataSet, length: int) -> _OpenDataSet:
        undefined = length == UNDEFINED
        end = level.end if undefined else self.position + length
        if end > level.end:
            raise _bad_length(ITEM, self.position, odd=False)
        return _OpenDataSet(item, end, undefined)

    def _end_sequence(self, level: _OpenSequence) -> None:
        length = self.position - level.offset
        self._note(level.parent, Element(level.tag, "SQ", level.offset, length, level.items))

    def _end_data_set(self, level: _OpenDataSet) -> None:
        position = self.position
        if not level.undefined:
            if position != level.end:
                raise Malformed(f"An item or a delimiter stands at byte {position}, where a data element should be.")
            return
        if level.end - position < HEADER_BYTES:
            raise Malformed("An item of undefined length is never closed.")
        header = _HEADER[level.data_set.little_endian](self.octets.read(position, HEADER_BYTES))
        if header != (DELIMITERS, ITEM_END & 0xFFFF, 0):
            raise Malformed(f"The delimiter at byte {position} does not close an item.")
        self.position = position + HEADER_BYTES

    def _encapsulated(self, level: _OpenDataSet, tag: int, vr: str) -> None:
        """Pixel data in fragments (PS3.5 A.4): an offset table, the fragments, a delimiter."""
        if tag != PIXEL_DATA or vr not in {"OB", "OW", "OB or OW"}:
            raise Malformed(f"{tag_text(tag)} has an undefined length, which only sequences and pixel data may have.")
        offset, end = self.position, level.end
        unpack, octets = _HEADER[level.data_set.little_endian], self.octets
        starts, lengths = array("Q"), array("Q")
        position, header = offset, (0, 0, 0)
        buffer, start = octets.window(position)
        while True:
            if end - position < HEADER_BYTES:
                raise Malformed("The encapsulated pixel data is never closed.")
            if position + HEADER_BYTES > start + len(buffer):
                far = header[2] > NEAR_BYTES  # a window would read much and be left at once
                buffer, start = (octets.glance(position, HEADER_BYTES), position) if far else octets.window(position)
            header = unpack(buffer, position - start)
            position += HEADER_BYTES
            if header[:2] != (DELIMITERS, ITEM & 0xFFFF):
                break
            if header[2] > end - position or header[2] & 1:
                raise _bad_length(ITEM, position, odd=header[2] <= end - position)
            starts.append(position)
            lengths.append(header[2])
            position += header[2]
            if len(starts) > self.limits.fragments:
                raise OverLimit(f"The pixel data has more than {self.limits.fragments} fragments.")
        if header != (DELIMITERS, SEQUENCE_END & 0xFFFF, 0) or not starts:
            raise Malformed(f"The encapsulated pixel data is broken at byte {position - HEADER_BYTES}.")
        self.position = position
        fragments = Fragments(starts[0], lengths[0], starts[1:], lengths[1:])
        self._note(level, Element(tag, "OB" if vr == "OB or OW" else vr, offset, position - offset, fragments))

    def _note(self, level: _OpenDataSet, element: Element) -> None:
        if element.tag >> 16 & 1:
            self._private(level, element.tag, element.offset, element.length)
        level.data_set.elements.append(element)

    def _private(self, level: _OpenDataSet, tag: int, offset: int, length: int) -> None:
        """Count a private element, and remember the creator if it names one (PS3.5 7.8.1)."""
        self.private_left -= 1
        if self.private_left < 0:
            raise OverLimit(f"The instance has more than {self.limits.private_elements} private data elements.")
        if tag & 0xFFFF in PRIVATE_CREATORS and length <= CREATOR_LENGTH:
            creator = self.octets.read(offset, length).decode("latin-1").strip(" \0")
            level.creators[tag >> 16 << 8 | tag & 0xFF] = creator

    def _weigh(self, tag: int, vr: str, length: int) -> None:
        """Hold a long value against the limits, unless it can be left aside as bulk data."""
        if vr in OPAQUE or length <= SHORT_VALUE:
            return
        self.header_left -= length
        if length > self.limits.value_bytes:
            raise OverLimit(f"The value of {tag_text(tag)} has more than {self.limits.value_bytes} bytes.")
        if self.header_left < 0:
            raise OverLimit(f"The values outside bulk data have more than {self.limits.header_bytes} bytes.")

    def _count(self) -> None:
        self.elements_left -= 1
        if self.elements_left < 0:
            raise OverLimit(f"The instance has more than {self.limits.elements} data elements.")


def _unlisted_vr(tag: int, creators: dict[int, str]) -> str:
    return private_vr(tag, creators.get(tag >> 8, "")) if tag >> 16 & 1 else public_vr(tag)


def _known_vr(tag: int, length: int, creators: dict[int, str]) -> str:
    """What the dictionary makes of a UN: a writer may not have known what we know (PS3.5 6.2.2)."""
    if tag >> 16 & 1:
        return private_vr(tag, creators.get(tag >> 8, ""))
    return public_vr(tag) if length < KNOWN_UN else "UN"


def _truncated(position: int) -> Malformed:
    return Malformed(f"The instance ends inside a data element at byte {position}.")


def _bad_length(tag: int, offset: int, *, odd: bool) -> Malformed:
    wrong = "has an odd length" if odd else "is longer than the bytes that follow"
    return Malformed(f"The value of {tag_text(tag)} at byte {offset} {wrong}.")


def _out_of_order(previous: int, tag: int, position: int) -> TagsOutOfOrder:
    again = "stands twice" if tag == previous else f"comes after {tag_text(previous)}"
    return TagsOutOfOrder(f"{tag_text(tag)} at byte {position} {again}.", tags=(previous, tag))
