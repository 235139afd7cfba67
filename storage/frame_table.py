"""Where each frame of an image lies in its file, packed small enough to be kept beside the catalog row.

A frame is a list of byte spans: one of a native image, one or more fragments (without their item headers) of an
encapsulated one. Reading one frame of a packed table touches that frame's entries alone.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from typing import NamedTuple

_HEADER = struct.Struct("<BxxxIQ")  # kind, number of frames, offset of the deflated data set (0: not deflated)
_NATIVE = struct.Struct("<QQ")  # offset of the first frame in bytes, size of each frame in bits
_OFFSET, _LENGTH, _INDEX = struct.Struct("<Q"), struct.Struct("<I"), struct.Struct("<I")

NATIVE, ONE_SPAN, MANY_SPANS = 1, 2, 3

Span = tuple[int, int]
"""Offset and length in bytes."""


class Bits(NamedTuple):
    """Where a frame begins inside the bytes of its span, and its size: bit 0 is the least significant (PS3.5 8.2)."""

    first: int
    size: int


class FrameTable:
    """The spans of every frame, 1-based as in WADO-RS (PS3.18 10.4.1.1.6).

    Offsets count from the first byte of the file, or, where `inflated_from` is not 0, from the first byte that comes
    out of inflating the file from there on.
    """

    __slots__ = ("_kind", "_packed", "inflated_from", "number_of_frames")

    def __init__(self, packed: bytes) -> None:
        if len(packed) < _HEADER.size:
            raise ValueError("This is no frame table.")
        self._packed = packed
        self._kind, self.number_of_frames, self.inflated_from = _HEADER.unpack_from(packed)
        if len(packed) != self._packed_size():
            raise ValueError("This frame table is cut off.")

    @classmethod
    def from_bytes(cls, packed: bytes) -> FrameTable:
        """The table that `to_bytes` packed; ValueError when it is none."""
        return cls(packed)

    @classmethod
    def native(cls, *, offset: int, frame_bits: int, number_of_frames: int, inflated_from: int = 0) -> FrameTable:
        """Frames of equal size one behind the other, not aligned to bytes when they are bit-packed (PS3.5 8.1.1)."""
        return cls(_HEADER.pack(NATIVE, number_of_frames, inflated_from) + _NATIVE.pack(offset, frame_bits))

    @classmethod
    def encapsulated(
        cls, *, firsts: array[int], offsets: array[int], lengths: array[int], inflated_from: int = 0
    ) -> FrameTable:
        """Frames in fragments (PS3.5 A.4): `firsts` numbers each frame's first fragment, and after the last, all."""
        number_of_frames = len(firsts) - 1
        single = number_of_frames == len(offsets)
        parts = [_HEADER.pack(ONE_SPAN if single else MANY_SPANS, number_of_frames, inflated_from)]
        if not single:
            parts.append(_little_endian("I", firsts))
        return cls(b"".join((*parts, _little_endian("Q", offsets), _little_endian("I", lengths))))

    def to_bytes(self) -> bytes:
        """32 bytes for a native image of any length; 12 bytes for each span of an encapsulated one."""
        return self._packed

    @property
    def byte_aligned(self) -> bool:
        """Whether every frame is a span of whole bytes; else `bits` and `extract_bits` cut it out."""
        return self._kind != NATIVE or self.number_of_frames == 1 or self._native()[1] % 8 == 0

    def spans(self, number: int) -> tuple[Span, ...]:
        """The spans of a frame, which hold its neighbours' bits too where frames are not aligned to bytes.

        Raises IndexError for a number that no frame has.
        """
        self._check(number)
        if self._kind == NATIVE:
            offset, frame_bits = self._native()
            first, last = (number - 1) * frame_bits // 8, (number * frame_bits + 7) // 8
            return ((offset + first, last - first),)
        if self._kind == ONE_SPAN:
            return tuple(self._read_spans(number - 1, number, spans_total=self.number_of_frames, base=_HEADER.size))
        first, last, total = (self._index(entry) for entry in (number - 1, number, self.number_of_frames))
        base = _HEADER.size + _INDEX.size * (self.number_of_frames + 1)
        return tuple(self._read_spans(first, last, spans_total=total, base=base))

    def bits(self, number: int) -> Bits:
        """Where the frame's bits lie inside its span."""
        self._check(number)
        if self._kind != NATIVE:
            return Bits(0, 8 * sum(length for _, length in self.spans(number)))
        frame_bits = self._native()[1]
        return Bits((number - 1) * frame_bits % 8, frame_bits)

    def _check(self, number: int) -> None:
        if not 1 <= number <= self.number_of_frames:
            raise IndexError(f"The image has {self.number_of_frames} frames.")

    def _native(self) -> tuple[int, int]:
        offset, frame_bits = _NATIVE.unpack_from(self._packed, _HEADER.size)
        return offset, frame_bits

    def _index(self, entry: int) -> int:
        return int(_INDEX.unpack_from(self._packed, _HEADER.size + _INDEX.size * entry)[0])

    def _read_spans(self, first: int, last: int, *, spans_total: int, base: int) -> Iterable[Span]:
        lengths = base + _OFFSET.size * spans_total
        for entry in range(first, last):
            (offset,) = _OFFSET.unpack_from(self._packed, base + _OFFSET.size * entry)
            (length,) = _LENGTH.unpack_from(self._packed, lengths + _LENGTH.size * entry)
            yield offset, length

    def _packed_size(self) -> int:
        if self._kind == NATIVE:
            return _HEADER.size + _NATIVE.size
        index = _INDEX.size * (self.number_of_frames + 1) if self._kind == MANY_SPANS else 0
        if len(self._packed) < _HEADER.size + index:
            return -1
        spans = self._index(self.number_of_frames) if index else self.number_of_frames
        return _HEADER.size + index + spans * (_OFFSET.size + _LENGTH.size)


def extract_bits(covering: bytes, bits: Bits) -> bytes:
    """The bits of a frame moved to the beginning of a byte, the last byte filled up with zeros."""
    number = int.from_bytes(covering, "little") >> bits.first & (1 << bits.size) - 1
    return number.to_bytes((bits.size + 7) // 8, "little")


def _little_endian(code: str, numbers: array[int]) -> bytes:
    packed = array(code, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
