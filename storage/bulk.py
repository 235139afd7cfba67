"""Where the bulk data values of an instance lie: what its BulkDataURIs lead to, packed into one column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_REFERENCE = re.compile(rb'"vr":"([A-Z]{2})","BulkDataURI":"\x01bulkdata/([0-9A-F/]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkValue:
    """One binary value: offset and length in bytes of its place in the file, or in the inflated data set of a
    deflated transfer syntax; its VR; whether its words stand in little endian order; whether it is an encapsulated
    stream of fragments (PS3.5 A.4), item headers included.
    """

    offset: int
    length: int
    vr: str
    little_endian: bool
    encapsulated: bool


def references(lines: Iterable[bytes]) -> list[tuple[str, str]]:
    """VR and path of each BulkDataURI in these lines of DICOM JSON; a path is `7FE00010` or `00082112/0/00880200`."""
    found = [match for line in lines if b"\x01" in line for match in _REFERENCE.findall(line)]
    return [(vr.decode(), path.decode()) for vr, path in found]


def pack(values: Iterable[tuple[str, BulkValue]]) -> bytes | None:
    """The values by their paths, one line each; None when there are none."""
    return "\n".join(f"{path} {_pack_one(value)}" for path, value in values).encode() or None


def find(packed: bytes | None, path: str) -> BulkValue | None:
    """The value at this path."""
    start = f"{path} ".encode()
    line = next((line for line in (packed or b"").split(b"\n") if line.startswith(start)), None)
    return _unpack_one(line[len(start) :].decode()) if line is not None else None


def unpack(packed: bytes | None) -> dict[str, BulkValue]:
    """All values by their paths, in the order of the instance."""
    lines = (packed or b"").decode().splitlines()
    return {path: _unpack_one(rest) for path, _, rest in (line.partition(" ") for line in lines)}


def _pack_one(value: BulkValue) -> str:
    order = "l" if value.little_endian else "b"
    return f"{value.offset} {value.length} {value.vr} {order}{'e' if value.encapsulated else 'n'}"


def _unpack_one(text: str) -> BulkValue:
    offset, length, vr, flags = text.split(" ")
    return BulkValue(
        offset=int(offset),
        length=int(length),
        vr=vr,
        little_endian=flags[0] == "l",
        encapsulated=flags[1] == "e",
    )
