"""Why received bytes cannot be kept as an instance, with the failure reason that PS3.18 I.2.2 gives for it.

UnusableInstance            C000H  the common ground
├── NotDicom                C000H  no PS3.10 file
├── Malformed               C000H  the structure does not hold together
│   └── TagsOutOfOrder      C000H  a data element twice, or out of order
├── OverLimit               C000H  sound so far, but beyond a limit of this gateway
│   └── InstanceTooLarge    A700H  more bytes than an instance may have
├── IdentityUnusable        A900H  the UIDs or the patient's identity are missing, double or ill-formed
├── TransferSyntaxUnknown   C122H  a transfer syntax that cannot be read
└── DirectoryNotInstance    0122H  a DICOMDIR

No message holds a value of a data element; tags and byte positions are all it tells.
"""

from __future__ import annotations

from typing import ClassVar

from storage.errors import StorageError


def tag_text(tag: int) -> str:
    """A tag as people write it: (gggg,eeee)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class UnusableInstance(StorageError):
    """The bytes are not a DICOM instance that can be kept."""

    failure_reason: ClassVar[int] = 0xC000


class NotDicom(UnusableInstance):
    """This is not a DICOM file: the preamble, the DICM prefix or the file meta information is missing."""


class Malformed(UnusableInstance):
    """The DICOM structure is broken."""

    @classmethod
    def cut_off(cls, position: int) -> Malformed:
        """The bytes end before the header of a data element does."""
        return cls(f"The instance ends inside a data element at byte {position}.")

    @classmethod
    def bad_length(cls, tag: int, offset: int, *, odd: bool) -> Malformed:
        """The value at `offset` is longer than what holds it, or else its length is odd (PS3.5 7.1.1)."""
        wrong = "has an odd length" if odd else "is longer than the bytes that follow"
        return cls(f"The value of {tag_text(tag)} at byte {offset} {wrong}.")


class TagsOutOfOrder(Malformed):
    """A data element stands twice or out of order, so that readers would disagree about its value."""

    def __init__(self, detail: str | None = None, *, tags: tuple[int, ...] = ()) -> None:
        super().__init__(detail)
        self.tags = tags

    @classmethod
    def found(cls, previous: int, tag: int, position: int) -> TagsOutOfOrder:
        """The element at `position` is not above the one before it (PS3.5 7.1)."""
        again = "stands twice" if tag == previous else f"comes after {tag_text(previous)}"
        return cls(f"{tag_text(tag)} at byte {position} {again}.", tags=(previous, tag))


class OverLimit(UnusableInstance):
    """The instance goes beyond what this gateway accepts."""


class InstanceTooLarge(OverLimit):
    """The instance has more bytes than this gateway accepts."""

    failure_reason: ClassVar[int] = 0xA700


class IdentityUnusable(UnusableInstance):
    """The instance does not say unmistakably which patient, study, series or object it is."""

    failure_reason: ClassVar[int] = 0xA900


class TransferSyntaxUnknown(UnusableInstance):
    """The transfer syntax is not one that this gateway can read."""

    failure_reason: ClassVar[int] = 0xC122


class DirectoryNotInstance(UnusableInstance):
    """A DICOMDIR lists files and is not an instance of a study."""

    failure_reason: ClassVar[int] = 0x0122
