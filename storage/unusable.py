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


class UnusableInstance(StorageError):
    """The bytes are not a DICOM instance that can be kept."""

    failure_reason: ClassVar[int] = 0xC000


class NotDicom(UnusableInstance):
    """This is not a DICOM file: the preamble, the DICM prefix or the file meta information is missing."""


class Malformed(UnusableInstance):
    """The DICOM structure is broken."""


class TagsOutOfOrder(Malformed):
    """A data element stands twice or out of order, so that readers would disagree about its value."""

    def __init__(self, detail: str | None = None, *, tags: tuple[int, ...] = ()) -> None:
        super().__init__(detail)
        self.tags = tags


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
