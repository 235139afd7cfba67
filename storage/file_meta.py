"""The file meta information that stands before a data set (PS3.10 7.1)."""

from __future__ import annotations

import struct

from storage.elements import DataSet, ScanLimits
from storage.fragments import HEADER_BYTES
from storage.octets import Octets
from storage.unusable import Malformed
from storage.value_representation import EXPLICIT
from storage.walk import LONG_HEADER_BYTES, walk

META_OFFSET = 132
"""Where it begins: behind the preamble and the prefix."""

FILE_META = 0x0002
UL_BYTES = 4

_EXPLICIT, _LENGTH = struct.Struct("<HH2sH").unpack_from, struct.Struct("<I").unpack_from


def read_file_meta(octets: Octets, limits: ScanLimits) -> tuple[DataSet, int]:
    """The file meta information (PS3.10 7.1), always explicit VR little endian, and the offset behind it.

    Raises Malformed when an element is broken, or when its group length would lead other readers elsewhere.
    """
    meta = DataSet([], implicit=False, little_endian=True)
    end = _end_of_file_meta(octets)
    walk(octets, meta, first=META_OFFSET, end=end, above=-1, limits=limits)
    group_length = meta.find(0x00020000)
    if group_length is not None and group_length.length == UL_BYTES:
        stated = int.from_bytes(octets.read(group_length.offset, UL_BYTES), "little")
        if group_length.offset + UL_BYTES + stated != end:
            raise Malformed("The file meta information is not as long as it says, so that readers would disagree.")
    return meta, end


def _end_of_file_meta(octets: Octets) -> int:
    """The byte offset behind the elements of group 0002."""
    position = META_OFFSET
    while octets.size - position >= HEADER_BYTES:
        header = octets.read(position, min(LONG_HEADER_BYTES, octets.size - position))
        group, number, code, length = _EXPLICIT(header)
        if group != FILE_META:
            break
        _, layout = EXPLICIT.get(code, ("", 1))
        if layout and len(header) < LONG_HEADER_BYTES:
            raise Malformed.cut_off(position)
        offset = position + (LONG_HEADER_BYTES if layout else HEADER_BYTES)
        position = offset + (_LENGTH(header, HEADER_BYTES)[0] if layout else length)
        if position > octets.size:
            raise Malformed.bad_length(group << 16 | number, offset, odd=False)
    return position
