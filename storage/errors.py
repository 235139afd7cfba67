"""What can go wrong below the gateway, as one tree.

StorageError
├── UnusableInstance        storage/unusable.py: the bytes are not an instance that can be kept
├── InstanceConflict        another data set already has this SOP Instance UID
├── Guaranteed              deletion or hiding before the guarantee's end
├── ObjectMissing           a catalogued object is not in the archive
├── ObjectCorrupt           an object's bytes are not those that were stored
├── ArchiveAway             the archive does not answer
├── NotDurable              the record could not be made durable
├── ReadOnly                this node stopped accepting after a storage fault
├── StoreFull               no room left for images
├── BadQuery                a search that cannot be understood
└── WrongStore              the data directory and the database do not belong together

The docstring of a class is its default message. No message holds patient data.
"""

from __future__ import annotations


class StorageError(Exception):
    """The storage could not do what was asked."""

    def __init__(self, detail: str | None = None, *, sop_instance_uid: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").strip())
        self.sop_instance_uid = sop_instance_uid  # what it is about, for the stewards; the message does not say it


class InstanceConflict(StorageError):
    """Another data set is already stored under this SOP Instance UID; the newcomer was put in quarantine."""


class Guaranteed(StorageError):
    """The study is still inside its guaranteed availability and cannot be deleted or hidden."""


class ObjectMissing(StorageError):
    """An image that the catalog lists is missing from the archive; the operators have been told."""


class ObjectCorrupt(StorageError):
    """An image in the archive no longer has the bytes that were stored; it is withheld until it is repaired."""


class ArchiveAway(StorageError):
    """The image archive does not answer at present; try again later."""


class NotDurable(StorageError):
    """The audit record could not be written, so nothing was disclosed; try again later."""


class ReadOnly(StorageError):
    """This node stopped accepting images after a storage fault; ask the operators."""


class StoreFull(StorageError):
    """There is no room for more images; audit and consent go on. Ask the operators."""


class BadQuery(StorageError):
    """The search could not be understood."""


class WrongStore(StorageError):
    """The data directory and the database do not belong together."""
