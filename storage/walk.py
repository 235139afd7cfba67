"""The structure of a data set (PS3.5 7): one iterative walk over element headers that finds every value and reads none.

The walk believes no length before it was compared with the bytes that are there, keeps its own stack instead of
recursing, and refuses whatever two readers could understand in two ways.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from storage.budget import SHORT_VALUE, Budget
from storage.elements import PIXEL_DATA, UNDEFINED, DataSet, Element, ScanLimits
from storage.fragments import HEADER, HEADER_BYTES, ITEM, SEQUENCE_END, read_fragments
from storage.octets import Octets
from storage.unusable import Malformed, OverLimit, TagsOutOfOrder, tag_text
from storage.value_representation import EXPLICIT, IMPLICIT, PRIVATE_CREATORS, private_vr, public_vr

ITEM_END = 0xFFFEE00D
DELIMITERS = 0xFFFE  # the group of items and delimiters
META_END = 0x0002FFFF  # up to it lie the groups that no data set has

LONG_HEADER_BYTES = 12  # the longest header of an element
KNOWN_UN = 0xFFFF  # a longer value is UN because 16 bits cannot tell its length, so the dictionary is not asked
CREATOR_LENGTH = 64  # LO: the longest name of a private creator

_EXPLICIT = {True: struct.Struct("<HH2sH").unpack_from, False: struct.Struct(">HH2sH").unpack_from}
_LENGTH = {True: struct.Struct("<I").unpack_from, False: struct.Struct(">I").unpack_from}
_IMPLICIT = HEADER[True]


@dataclass(slots=True)
class _OpenDataSet:
    """A data set that is being read, up to `end` or, if its length is undefined, up to a delimiter before `end`."""

    data_set: DataSet
    end: int
    undefined: bool
    previous: int = -1
    creators: dict[int, str] = field(default_factory=dict)
    doubtful: bool = False
    """Implicit where a reader that looks for itself could see explicit VR."""


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
    root = _OpenDataSet(data_set, end, undefined=False, previous=above, doubtful=data_set.implicit)
    _Walk(octets, limits, first).run(root)


class _Walk:
    def __init__(self, octets: Octets, limits: ScanLimits, position: int) -> None:
        self.octets, self.limits, self.position = octets, limits, position
        self.budget = Budget(limits)

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
        left = self.budget.elements_left
        while position < end:
            if end - position < HEADER_BYTES:
                raise Malformed.cut_off(position)
            if position > reach and reach + LONG_HEADER_BYTES < end:
                buffer, start = self.octets.window(position)
                reach = start + len(buffer) - LONG_HEADER_BYTES
            group, number, code, length = unpack(buffer, position - start)
            tag = group << 16 | number
            kind = EXPLICIT.get(code)
            if group == DELIMITERS:
                break
            if kind is None:
                raise Malformed(f"{tag_text(tag)} at byte {position} has an unknown value representation.")
            if tag <= previous:
                raise TagsOutOfOrder.found(previous, tag, position)
            previous, (vr, layout) = tag, kind
            offset = position + HEADER_BYTES
            left -= 1
            if left < 0:
                raise self.budget.too_many_elements()
            if layout:
                if end - position < LONG_HEADER_BYTES:
                    raise Malformed.cut_off(position)
                (length,) = unpack_length(buffer, offset - start)
                offset += 4
                if layout > 1 or length == UNDEFINED:
                    self.position, self.budget.elements_left, level.previous = offset, left, previous
                    opened = self._nested(level, tag, vr, length)
                    if opened is not None:
                        return opened
                    position = self.position
                    continue
            position = offset + length
            if position > end or length & 1:
                raise Malformed.bad_length(tag, offset, odd=position <= end)
            if length > SHORT_VALUE:
                self.budget.weigh(tag, vr, length)
            if group & 1:
                self._private(level, tag, offset, length)
            append(new(Element, (tag, vr, offset, length, None)))
        self.position, self.budget.elements_left = position, left
        self._end_data_set(level)
        return None

    def _implicit_elements(self, level: _OpenDataSet) -> _OpenSequence | None:  # noqa: C901 - the hot loop
        """The same for implicit VR (PS3.5 7.1.3), where the dictionary knows what the bytes do not tell."""
        append, new = level.data_set.elements.append, tuple.__new__
        position, end, previous = self.position, level.end, level.previous
        buffer, start = self.octets.window(position)
        reach = start + len(buffer) - LONG_HEADER_BYTES
        if level.doubtful and _looks_explicit(buffer[position - start : position - start + HEADER_BYTES]):
            raise Malformed(f"The element at byte {position} could be read in implicit and in explicit VR.")
        level.doubtful = False
        while position < end:
            if end - position < HEADER_BYTES:
                raise Malformed.cut_off(position)
            if position > reach and reach + LONG_HEADER_BYTES < end:
                buffer, start = self.octets.window(position)
                reach = start + len(buffer) - LONG_HEADER_BYTES
            group, number, length = _IMPLICIT(buffer, position - start)
            if group == DELIMITERS:
                break
            tag = group << 16 | number
            if tag <= previous:
                raise TagsOutOfOrder.found(previous, tag, position)
            previous = tag
            self.budget.take_element()
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
                raise Malformed.bad_length(tag, offset, odd=position <= end)
            if length > SHORT_VALUE:
                self.budget.weigh(tag, vr, length)
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
            raise Malformed.bad_length(tag, offset, odd=self.position <= level.end)
        self.budget.weigh(tag, vr, length)
        self._note(level, Element(tag, vr, offset, length, None))
        return None

    def _open_sequence(self, level: _OpenDataSet, tag: int, length: int, *, implicit: bool) -> _OpenSequence:
        offset, undefined = self.position, length == UNDEFINED
        end = level.end if undefined else offset + length
        if end > level.end:
            raise Malformed.bad_length(tag, offset, odd=False)
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
        unpack, position, end = HEADER[level.little_endian], self.position, level.end
        buffer, start = self.octets.window(position)
        while level.undefined or position != end:
            if end - position < HEADER_BYTES:
                raise Malformed.cut_off(position)
            if position + HEADER_BYTES > start + len(buffer):
                buffer, start = self.octets.window(position)
            group, number, length = unpack(buffer, position - start)
            tag = group << 16 | number
            position += HEADER_BYTES
            if tag == SEQUENCE_END and level.undefined and length == 0:
                break
            if tag != ITEM:
                raise Malformed(f"Byte {position - HEADER_BYTES} should begin an item of {tag_text(level.tag)}.")
            self.budget.take_element()
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
            raise Malformed.bad_length(ITEM, self.position, odd=False)
        doubtful = level.implicit and not level.parent.data_set.implicit
        return _OpenDataSet(item, end, undefined, doubtful=doubtful)

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
        header = HEADER[level.data_set.little_endian](self.octets.read(position, HEADER_BYTES))
        if header != (DELIMITERS, ITEM_END & 0xFFFF, 0):
            raise Malformed(f"The delimiter at byte {position} does not close an item.")
        self.position = position + HEADER_BYTES

    def _encapsulated(self, level: _OpenDataSet, tag: int, vr: str) -> None:
        """Pixel data in fragments (PS3.5 A.4): an offset table, the fragments, a delimiter."""
        if tag != PIXEL_DATA or vr not in {"OB", "OW", "OB or OW"}:
            raise Malformed(f"{tag_text(tag)} has an undefined length, which only sequences and pixel data may have.")
        offset = self.position
        fragments, self.position = read_fragments(
            self.octets,
            offset,
            end=level.end,
            little_endian=level.data_set.little_endian,
            limit=self.limits.fragments,
        )
        vr = "OB" if vr == "OB or OW" else vr
        self._note(level, Element(tag, vr, offset, self.position - offset, fragments))

    def _note(self, level: _OpenDataSet, element: Element) -> None:
        if element.tag >> 16 & 1:
            self._private(level, element.tag, element.offset, element.length)
        level.data_set.elements.append(element)

    def _private(self, level: _OpenDataSet, tag: int, offset: int, length: int) -> None:
        """Count a private element, and remember the creator if it names one (PS3.5 7.8.1)."""
        self.budget.take_private_element()
        if tag & 0xFFFF in PRIVATE_CREATORS and length <= CREATOR_LENGTH:
            creator = self.octets.read(offset, length).decode("latin-1").strip(" \0")
            level.creators[tag >> 16 << 8 | tag & 0xFF] = creator


def _looks_explicit(header: bytes) -> bool:
    """Whether two capitals stand where explicit VR has them: some readers go by them, not by the transfer syntax."""
    return header[4:6].isalpha() and header[4:6].isupper()


def _unlisted_vr(tag: int, creators: dict[int, str]) -> str:
    return private_vr(tag, creators.get(tag >> 8, "")) if tag >> 16 & 1 else public_vr(tag)


def _known_vr(tag: int, length: int, creators: dict[int, str]) -> str:
    """What the dictionary makes of a UN: a writer may not have known what we know (PS3.5 6.2.2)."""
    if tag >> 16 & 1:
        return private_vr(tag, creators.get(tag >> 8, ""))
    return public_vr(tag) if length < KNOWN_UN else "UN"
