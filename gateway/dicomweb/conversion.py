"""In which transfer syntax an instance is sent, and the conversions that need no codec (PS3.18 8.7.3.5.2).

Implicit VR and Big Endian do not travel on the web unless `*` asks for what is stored: they are sent as Explicit VR
Little Endian. A compressed instance is sent as stored where no transfer syntax was named.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from gateway.errors import NotAcceptable

WORDS: Final = {"OF": 4, "OL": 4, "OD": 8, "OV": 8}
AS_STORED: Final = "*"
UNENCAPSULATED: Final = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
NOT_ON_THE_WEB: Final = frozenset({ImplicitVRLittleEndian, ExplicitVRBigEndian})
LARGEST_BYTES: Final = 1 << 30  # a larger instance is not converted in memory


def syntax_to_send(stored: str, asked: str | None, *, size_bytes: int) -> str:
    """The transfer syntax in which an instance goes out.

    Raises
    ------
    NotAcceptable : what was asked for needs a conversion that is not offered
    """
    wanted = asked or (ExplicitVRLittleEndian if stored in NOT_ON_THE_WEB else stored)
    if wanted in {AS_STORED, stored}:
        return stored
    if wanted == ExplicitVRLittleEndian and stored in UNENCAPSULATED and size_bytes <= LARGEST_BYTES:
        return str(ExplicitVRLittleEndian)
    raise NotAcceptable("The instance is not stored in the transfer syntax asked for; ask for transfer-syntax=*.")


def to_explicit_little_endian(file: bytes) -> bytes:
    """A Part 10 file in Explicit VR Little Endian, with File Meta Information that says so (PS3.10 7.1)."""
    data_set = pydicom.dcmread(BytesIO(file))
    if data_set.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        _swap_words(data_set)
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    converted = BytesIO()
    pydicom.dcmwrite(converted, data_set, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return converted.getvalue()


def _swap_words(data_set: pydicom.Dataset) -> None:
    """Binary values keep their bytes when pydicom changes the byte order: the words in them are turned here."""
    for element in data_set.iterall():
        width = word_of(element.VR, data_set.get("BitsAllocated"))
        if width > 1 and element.value:
            element.value = swap_bytes(element.value, width=width)


def word_of(vr: str, bits_allocated: int | None) -> int:
    """Bytes of one word of a binary value (PS3.5 6.2): what a change of byte order turns round."""
    if vr == "OW":
        return max(2, (bits_allocated or 16) // 8)
    return WORDS.get(vr, 1)


def swap_bytes(values: bytes, *, width: int) -> bytes:
    """Big endian words of `width` bytes as little endian ones."""
    swapped = bytearray(len(values))
    for byte in range(width):
        swapped[byte::width] = values[width - 1 - byte :: width]
    return bytes(swapped)
