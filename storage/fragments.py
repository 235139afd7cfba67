"""Items, and the fragments of encapsulated pixel data that stand in them (PS3.5 7.5, A.4)."""

from __future__ import annotations

import struct
from array import array

from storage.elements import Fragments
from storage.octets import NEAR_BYTES, Octets
from storage.unusable import Malformed, OverLimit

ITEM, SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
HEADER_BYTES = 8  # tag and length
HEADER = {True: struct.Struct("<HHI").unpack_from, False: struct.Struct(">HHI").unpack_from}
"""Group, element and length of an item, by whether it is little endian."""


def read_fragments(octets: Octets, offset: int, *, end: int, little_endian: bool, limit: int) -> tuple[Fragments, int]:
    """The items from `offset` on, none beyond `end`: an offset table, the fragments, a delimiter; and what follows it.

    Raises Malformed when they do not hold together, OverLimit when there are more than `limit`.
    """
    unpack, header = HEADER[little_endian], (0, 0, 0)
    starts, lengths = array("Q"), array("Q")
    buffer, start = octets.window(offset)
    position = offset
    while True:
        if end - position < HEADER_BYTES:
            raise Malformed("The encapsulated pixel data is never closed.")
        if position + HEADER_BYTES > start + len(buffer):
            far = header[2] > NEAR_BYTES  # a window would read much and be left at once
            buffer, start = (octets.glance(position, HEADER_BYTES), position) if far else octets.window(position)
        header = unpack(buffer, position - start)
        position += HEADER_BYTES
        tag, length = header[0] << 16 | header[1], header[2]
        if tag != ITEM:
            break
        if length > end - position or length & 1:
            raise Malformed.bad_length(ITEM, position, odd=length <= end - position)
        starts.append(position)
        lengths.append(length)
        position += length
        if len(starts) > limit:
            raise OverLimit(f"The pixel data has more than {limit} fragments.")
    if tag != SEQUENCE_END or length or not starts:
        raise Malformed(f"The encapsulated pixel data is broken at byte {position - HEADER_BYTES}.")
    return Fragments(starts[0], lengths[0], starts[1:], lengths[1:]), position
