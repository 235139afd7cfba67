"""The structural scan of one received PS3.10 file: it runs before any parser sees the bytes.

It tells where everything is and who the instance says it is, and refuses what could harm or mislead a parser. It
allocates nothing by a length that the bytes state, reads no pixel data, does not recurse, and never changes a byte.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from storage.elements import DataSet, ScanLimits
from storage.file_meta import META_OFFSET, read_file_meta
from storage.octets import Octets, Source, inflate, open_octets
from storage.unusable import (
    DirectoryNotInstance,
    IdentityUnusable,
    InstanceTooLarge,
    NotDicom,
    TagsOutOfOrder,
    TransferSyntaxUnknown,
    tag_text,
)
from storage.walk import META_END, walk

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
"""Deflated Explicit VR Little Endian, JPIP Referenced Deflate, JPIP HTJ2K Referenced Deflate (PS3.5 A.5, A.7, A.11)."""

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
GE_PRIVATE_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"  # implicit VR little endian outside, which its UID does not tell

MEDIA_STORAGE_SOP_CLASS_UID, TRANSFER_SYNTAX_UID = 0x00020002, 0x00020010
SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E

IDENTITY_TAGS = frozenset(
    {
        SOP_CLASS_UID,
        SOP_INSTANCE_UID,
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
        0x00080020,  # StudyDate
        0x00080060,  # Modality
        0x00100020,  # PatientID
        0x00100021,  # IssuerOfPatientID
        0x00100024,  # IssuerOfPatientIDQualifiersSequence
    }
)
"""What access is decided on: an instance that says one of these twice is refused as A900H."""

PREFIX_OFFSET = 128
UID_LENGTH = 64
PADDING = b"\0 "  # a NUL by PS3.5 6.2; older devices wrote a space
_UID = re.compile(rb"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")


class Preamble(enum.Enum):
    """What the 128 bytes before the DICM prefix are. Some make the file run as a program (CVE-2019-11687)."""

    ZEROS = "zeros"
    TIFF = "TIFF"
    OTHER = "not DICOM's own"
    PE = "Windows program"
    ELF = "Linux program"
    MACH_O = "macOS program"
    SCRIPT = "script"
    ZIP = "ZIP archive"


_PREAMBLES = (
    (b"II*\0", Preamble.TIFF),
    (b"MM\0*", Preamble.TIFF),
    (b"II+\0", Preamble.TIFF),
    (b"MM\0+", Preamble.TIFF),
    (b"MZ", Preamble.PE),
    (b"ZM", Preamble.PE),
    (b"\x7fELF", Preamble.ELF),
    (b"\xfe\xed\xfa\xce", Preamble.MACH_O),
    (b"\xfe\xed\xfa\xcf", Preamble.MACH_O),
    (b"\xce\xfa\xed\xfe", Preamble.MACH_O),
    (b"\xcf\xfa\xed\xfe", Preamble.MACH_O),
    (b"\xca\xfe\xba\xbe", Preamble.MACH_O),
    (b"\xca\xfe\xba\xbf", Preamble.MACH_O),
    (b"#!", Preamble.SCRIPT),
    (b"PK", Preamble.ZIP),
)
_HARMLESS = frozenset({Preamble.ZEROS, Preamble.TIFF, Preamble.OTHER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Where everything in one PS3.10 file is. Offsets count from the first byte of the file, except in the data set
    of a deflated transfer syntax: there they count from the first byte after inflation.
    """

    transfer_syntax_uid: str
    preamble: Preamble
    meta: DataSet
    data_set: DataSet
    data_set_offset: int
    size: int
    inflated: Octets | None

    @property
    def preamble_alert(self) -> str | None:
        """What the preamble turns the file into, when that is something that can run."""
        return None if self.preamble in _HARMLESS else self.preamble.value

    def octets(self, source: Source) -> Octets:
        """The bytes that the offsets of the data set count in."""
        return self.inflated or open_octets(source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned(Structure):
    """The structure of an instance, and the four UIDs that place it."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


def scan(source: Source, *, limits: ScanLimits | None = None) -> Scanned:
    """Find the structure and the identity of the instance in `source`, which must stay as it is meanwhile.

    Raises a child of `UnusableInstance` that names the failure reason. An alarming preamble is reported, not refused.
    """
    structure = read_structure(source, limits=limits)
    if _uid(open_octets(source), structure.meta, MEDIA_STORAGE_SOP_CLASS_UID) == MEDIA_STORAGE_DIRECTORY:
        raise DirectoryNotInstance
    octets = structure.octets(source)
    return Scanned(
        transfer_syntax_uid=structure.transfer_syntax_uid,
        preamble=structure.preamble,
        meta=structure.meta,
        data_set=structure.data_set,
        data_set_offset=structure.data_set_offset,
        size=structure.size,
        inflated=structure.inflated,
        sop_class_uid=_identity(octets, structure.data_set, SOP_CLASS_UID),
        sop_instance_uid=_identity(octets, structure.data_set, SOP_INSTANCE_UID),
        study_instance_uid=_identity(octets, structure.data_set, STUDY_INSTANCE_UID),
        series_instance_uid=_identity(octets, structure.data_set, SERIES_INSTANCE_UID),
    )


def read_structure(source: Source, *, limits: ScanLimits | None = None) -> Structure:
    """The same without asking who the instance is: also for a DICOMDIR, a palette, a fragment of a study."""
    limits = limits or ScanLimits()
    octets = open_octets(source)
    if octets.size > limits.object_bytes:
        raise InstanceTooLarge
    if octets.size < META_OFFSET or octets.read(PREFIX_OFFSET, 4) != b"DICM":
        raise NotDicom
    preamble = _preamble(octets.read(0, PREFIX_OFFSET))
    meta, offset = read_file_meta(octets, limits)
    transfer_syntax_uid = _transfer_syntax(octets, meta)
    inflated = _inflated(octets, offset, limits) if transfer_syntax_uid in DEFLATED else None
    data_set = _read_data_set(inflated or octets, 0 if inflated else offset, transfer_syntax_uid, limits)
    return Structure(
        transfer_syntax_uid=transfer_syntax_uid,
        preamble=preamble,
        meta=meta,
        data_set=data_set,
        data_set_offset=offset,
        size=octets.size,
        inflated=inflated,
    )


def _preamble(octets: bytes) -> Preamble:
    if not octets.strip(b"\0"):
        return Preamble.ZEROS
    return next((kind for magic, kind in _PREAMBLES if octets.startswith(magic)), Preamble.OTHER)


def _transfer_syntax(octets: Octets, meta: DataSet) -> str:
    if meta.find(TRANSFER_SYNTAX_UID) is None:
        raise NotDicom("The file meta information names no transfer syntax.")
    uid = _uid(octets, meta, TRANSFER_SYNTAX_UID)
    if uid is None or uid == GE_PRIVATE_BIG_ENDIAN_PIXELS:
        raise TransferSyntaxUnknown
    return uid


def _inflated(octets: Octets, offset: int, limits: ScanLimits) -> Octets:
    limit = max(limits.inflated_bytes, limits.inflation * (octets.size - offset))
    return inflate(octets, offset, limit=limit, object_limit=limits.object_bytes)


def _read_data_set(octets: Octets, offset: int, transfer_syntax_uid: str, limits: ScanLimits) -> DataSet:
    """The data set; every transfer syntax but two is explicit VR little endian (PS3.5 A)."""
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
    data_set = DataSet([], implicit, transfer_syntax_uid != EXPLICIT_BIG_ENDIAN)
    try:
        walk(octets, data_set, first=offset, end=octets.size, above=META_END, limits=limits)
    except TagsOutOfOrder as broken:
        if IDENTITY_TAGS.isdisjoint(broken.tags):
            raise
        raise IdentityUnusable(str(broken)) from broken
    return data_set


def _identity(octets: Octets, data_set: DataSet, tag: int) -> str:
    uid = _uid(octets, data_set, tag)
    if uid is None:
        raise IdentityUnusable(f"The UID in {tag_text(tag)} is missing, or it is no UID.")
    return uid


def _uid(octets: Octets, data_set: DataSet, tag: int) -> str | None:
    """A UID in the form of PS3.5 9.1, without the one byte that may pad it; nothing else is taken for a UID."""
    element = data_set.find(tag)
    if element is None or element.vr != "UI" or not 0 < element.length <= UID_LENGTH:
        return None
    uid = octets.read(element.offset, element.length)
    uid = uid[:-1] if uid[-1] in PADDING else uid
    return uid.decode("ascii") if _UID.fullmatch(uid) else None
