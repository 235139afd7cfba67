"""Where the bytes are: a disk, an object store, or another archive that speaks DICOMweb."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from storage.model import ByteSpan, InstanceRef
from storage.spool import Staged


class Archive(Protocol):
    """Gives the bytes of instances that the catalog has allowed, and never wrong ones.

    Every method raises ObjectMissing, ObjectCorrupt or ArchiveAway; the first two carry `sop_instance_uid`.
    Pieces hold at most 1 MiB and were checked against what was stored before they are given.
    """

    def read(self, ref: InstanceRef, span: ByteSpan | None = None) -> AsyncIterator[bytes]:
        """The PS3.10 file, or a part of it, piece by piece."""

    async def read_span(self, ref: InstanceRef, spans: Sequence[ByteSpan]) -> bytes:
        """Parts of the file, joined: one frame or one bulk data value, whose place the catalog knows."""

    async def read_inflated(self, ref: InstanceRef, inflated_from: int, spans: Sequence[ByteSpan]) -> bytes:
        """Parts of what the file inflates to from an offset on, joined: for deflated transfer syntaxes (PS3.5 A.5)."""

    def read_frames(self, ref: InstanceRef, numbers: Sequence[int]) -> AsyncIterator[bytes]:
        """Frames by their number, counted from 1 (PS3.18 10.4.1), each as it is stored: fragments joined."""

    def check_present(self, refs: Sequence[InstanceRef]) -> None:
        """See cheaply that all are there in their size, before the first byte of an answer (law 5)."""


class WritableArchive(Archive, Protocol):
    """An archive that this gateway may add to."""

    archive_id: str

    def write(self, staged: Staged) -> str:
        """Keep staged bytes under their digest, durably, and give the locator. Runs on a thread that may wait.

        Raises StoreFull, ReadOnly, ArchiveAway.
        """

    def holds(self, digest: bytes, size_bytes: int) -> bool:
        """Whether bytes of this SHA-256 and size are there, without reading them."""

    def remove(self, digest: bytes) -> None:
        """The bytes of this SHA-256 are gone, durably; that they were not there is no error. For retention alone."""
