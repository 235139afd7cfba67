"""The DICOM JSON model (PS3.18 Annex F), written straight from the scanned elements: one line for each attribute.

A line is `"ggggeeee":{"vr":…}` in UTF-8 without a line end, so that sorted lists of lines merge by their first eleven
bytes, and `{` + `,`.join(lines) + `}` is the metadata document of an instance. Bulk data stands as a URI relative to
the instance, behind `BASE_MARK`: a byte that JSON text never holds, for which the document's builder puts the base.
"""

from __future__ import annotations

from binascii import b2a_base64

from storage.elements import Element
from storage.json_values import QUICK, irregular, little_endian
from storage.octets import Source
from storage.scan import Structure
from storage.scope import Scope
from storage.value_representation import BINARY

__all__ = ["BASE_MARK", "BULK_THRESHOLD_BYTES", "encode_lines", "little_endian"]

BASE_MARK = b"\x01"
"""Stands before each relative bulk data reference; JSON text escapes it wherever data holds it."""

BULK_THRESHOLD_BYTES = 4096
"""A binary value longer than this is bulk data: a header's tables stay inline, its images do not."""

INLINE_BYTES = 4 * 1024 * 1024
"""All inline binary values of one instance together; what comes later is bulk data however short it is."""

LABOUR_BYTES = 8 * 1024 * 1024
"""All values of one instance that take long to write or grow long: irregular text, and numbers by the thousand."""

FEW_BYTES = 256  # a value up to here is written at once

_ALWAYS_BULK = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PART = {"AT": 3, "FD": 7, "FL": 3, "SL": 3, "SS": 1, "SV": 7, "UL": 3, "US": 1, "UV": 7}  # bits of half a number
_LINES = {vr: b'"%08X":{"vr":"' + vr.encode() + b'","Value":[%b]}' for vr in QUICK}


def encode_lines(structure: Structure, source: Source, *, bulk_threshold: int = BULK_THRESHOLD_BYTES) -> list[bytes]:
    """The attributes of the data set, ascending by tag, without group lengths and without file meta information.

    Binary values of more than `bulk_threshold` bytes are bulk data, and pixel data always.
    """
    octets = structure.octets(source)
    return _Encoder(bulk_threshold).lines(Scope.of(octets, structure.data_set), b"")


class _Encoder:
    def __init__(self, bulk_threshold: int) -> None:
        self.bulk_threshold = bulk_threshold
        self.inline_left = INLINE_BYTES
        self.labour_left = LABOUR_BYTES

    def lines(self, scope: Scope, path: bytes) -> list[bytes]:
        """One line for each element; `path` leads to this data set."""
        lines: list[bytes] = []
        read, append = scope.octets.read, lines.append
        for element in scope.data_set.elements:
            tag, vr, offset, length, _ = element
            if not tag & 0xFFFF:  # a group length
                continue
            quick = QUICK.get(vr)
            if quick is not None and 0 < length <= FEW_BYTES and not length & _PART.get(vr, 0):
                value = quick(scope, read(offset, length))
                if value is not None:
                    append(_LINES[vr] % (tag, value))
                    continue
            append(self._other(scope, element, path))
        return lines

    def _other(self, scope: Scope, element: Element, path: bytes) -> bytes:
        """The line of an element that is empty, long, irregular, binary, a sequence, or of a VR that depends."""
        vr = scope.vr(element.vr)
        if element.length & _PART.get(vr, 0):  # no whole number of values: shown as the bytes they are
            vr = "UN"
        start = b'"%08X":{"vr":"%b"' % (element.tag, vr.encode())
        if not element.length:
            return start + b"}"
        if vr == "SQ":
            return start + self._items(scope, element, path)
        if vr in BINARY:
            return start + self._binary(scope, element, vr, path)
        return start + self._values(scope, element, vr, path)

    def _items(self, scope: Scope, element: Element, path: bytes) -> bytes:
        documents = []
        for index, item in enumerate(element.items if isinstance(element.items, list) else ()):
            lines = self.lines(Scope.of(scope.octets, item, scope), b"%b%08X/%d/" % (path, element.tag, index))
            documents.append(b"{" + b",".join(lines) + b"}")
        return b',"Value":[%b]}' % b",".join(documents) if documents else b"}"

    def _binary(self, scope: Scope, element: Element, vr: str, path: bytes) -> bytes:
        length = element.length
        if element.tag in _ALWAYS_BULK or length > self.bulk_threshold or length > self.inline_left:
            return _reference(element, path)
        self.inline_left -= length
        value = scope.octets.read(element.offset, length)
        if not scope.data_set.little_endian:
            value = little_endian(value, vr)
        return b',"InlineBinary":"%b"}' % b2a_base64(value, newline=False)

    def _values(self, scope: Scope, element: Element, vr: str, path: bytes) -> bytes:
        """Text that is long or irregular, or many numbers: as bulk data once there is too much of it (PS3.18 F.2.6)."""
        if vr in _PART and not self._takes(element.length):
            return _reference(element, path)
        raw = scope.octets.read(element.offset, element.length)
        value = QUICK[vr](scope, raw)
        if value is None:
            if not self._takes(element.length):
                return _reference(element, path)
            value = irregular(vr, scope, raw)
        return b"}" if value is None else b',"Value":[%b]}' % value

    def _takes(self, length: int) -> bool:
        self.labour_left -= length
        return self.labour_left >= 0


def _reference(element: Element, path: bytes) -> bytes:
    return b',"BulkDataURI":"%bbulkdata/%b%08X"}' % (BASE_MARK, path, element.tag)
