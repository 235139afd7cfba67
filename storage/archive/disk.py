"""The embedded archive: files named by their SHA-256 on a local disk.

A read is done on the calling thread when the page cache has the bytes (a MiB costs 0.1 ms then, less than handing it
to another thread), and on a reading thread when the disk must be asked.
"""

from __future__ import annotations

import asyncio
import errno
import os
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, NoReturn

from storage.archive.inflation import inflated_spans
from storage.checksums import CHUNK_BYTES, CRC_BYTES, crc32c
from storage.data_directory import DataDirectory
from storage.errors import ArchiveAway, ObjectCorrupt, ObjectMissing
from storage.frame_table import FrameTable, extract_bits
from storage.model import ByteSpan, InstanceRef
from storage.object_folder import READ_FLAGS
from storage.spool import Staged

READERS: Final = 4
_NO_WAIT: Final = getattr(os, "RWF_NOWAIT", None)
_AHEAD: Final = 8 * CHUNK_BYTES
_DAMAGE: Final = frozenset({errno.EIO, errno.ELOOP, errno.EISDIR, errno.EUCLEAN})  # the disk lost it, or it is no file


class DiskArchive:
    """Reads and writes the objects of one data directory."""

    archive_id = "disk"

    def __init__(self, directory: DataDirectory) -> None:
        self._objects = directory.objects
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="disk")

    async def read(self, ref: InstanceRef, span: ByteSpan | None = None) -> AsyncIterator[bytes]:
        """The file or a part of it, in checked pieces of at most 1 MiB. Raises ObjectMissing, ObjectCorrupt."""
        loop = asyncio.get_running_loop()
        with self._open(ref) as fd:
            for cut in _cuts(ref, span):
                if _is_cached(fd, cut):
                    yield _read_checked(fd, ref, cut)
                else:
                    yield await loop.run_in_executor(self._readers, _read_checked, fd, ref, cut)

    async def read_span(self, ref: InstanceRef, spans: Sequence[ByteSpan]) -> bytes:
        """Parts of the file, joined. Raises ObjectMissing, ObjectCorrupt."""
        loop = asyncio.get_running_loop()
        with self._open(ref) as fd:
            cuts = [cut for span in spans for cut in _cuts(ref, span)]
            if all(_is_cached(fd, cut) for cut in cuts):
                return _join(fd, ref, cuts)
            return await loop.run_in_executor(self._readers, _join, fd, ref, cuts)

    async def read_frames(self, ref: InstanceRef, numbers: Sequence[int]) -> AsyncIterator[bytes]:
        """Frames by number from 1, by the catalog's frame table. Raises ObjectMissing, ObjectCorrupt, IndexError."""
        table = FrameTable.from_bytes(ref.frames or b"")
        for number in numbers:
            spans = [ByteSpan(offset=offset, length=length) for offset, length in table.spans(number)]
            if table.inflated_from:
                frame = await self.read_inflated(ref, table.inflated_from, spans)
            else:
                frame = await self.read_span(ref, spans)
            yield frame if table.byte_aligned else extract_bits(frame, table.bits(number))

    async def read_inflated(self, ref: InstanceRef, inflated_from: int, spans: Sequence[ByteSpan]) -> bytes:
        """Parts of what the file inflates to from an offset on, joined. Raises ObjectMissing, ObjectCorrupt."""
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._read_inflated, ref, inflated_from, spans
        )

    def check_present(self, refs: Sequence[InstanceRef]) -> None:
        """All files are there in their size; 600 cost a millisecond. Raises ObjectMissing, ObjectCorrupt."""
        for ref in refs:
            try:
                size = os.lstat(self._objects.name_of(ref.digest)).st_size
            except OSError as error:
                _refuse(ref, error)
            if size != ref.size_bytes:
                raise ObjectCorrupt(sop_instance_uid=ref.sop_instance_uid)

    def read_chunks(self, ref: InstanceRef, span: ByteSpan | None = None) -> Iterator[bytes]:
        """The same as `read`, on this thread."""
        with self._open(ref) as fd:
            for cut in _cuts(ref, span):
                yield _read_checked(fd, ref, cut)

    def write(self, staged: Staged) -> str:
        """Keep staged bytes; on return they survive a power cut. Raises StoreFull, ReadOnly."""
        self._objects.put(staged)
        return staged.digest.hex()

    def holds(self, digest: bytes, size_bytes: int) -> bool:
        """Whether a file of this digest and size is there; its bytes are not read."""
        return self._objects.has(digest, size_bytes)

    def remove(self, digest: bytes) -> None:
        """The file of this digest is gone, durably; that it was not there is no error. Raises ReadOnly."""
        self._objects.remove(digest)

    def close(self) -> None:
        """Let the reading threads end."""
        self._readers.shutdown()

    def _read_inflated(self, ref: InstanceRef, inflated_from: int, spans: Sequence[ByteSpan]) -> bytes:
        deflated = ByteSpan(offset=inflated_from, length=ref.size_bytes - inflated_from)
        try:
            return inflated_spans(self.read_chunks(ref, deflated), spans)
        except (EOFError, zlib.error) as error:
            raise ObjectCorrupt(sop_instance_uid=ref.sop_instance_uid) from error

    @contextmanager
    def _open(self, ref: InstanceRef) -> Iterator[int]:
        try:
            fd = os.open(self._objects.name_of(ref.digest), READ_FLAGS)
        except OSError as error:
            _refuse(ref, error)
        try:
            if os.fstat(fd).st_size != ref.size_bytes:
                raise ObjectCorrupt(sop_instance_uid=ref.sop_instance_uid)
            yield fd
        finally:
            os.close(fd)


Cut = tuple[int, int, int]
"""The number of a chunk, and from which to which of its bytes is wanted."""


def _cuts(ref: InstanceRef, span: ByteSpan | None) -> Iterator[Cut]:
    first, end = (0, ref.size_bytes) if span is None else (span.offset, span.offset + span.length)
    if not 0 <= first <= end <= ref.size_bytes:
        raise ObjectCorrupt(sop_instance_uid=ref.sop_instance_uid)  # the catalog's place is outside the file
    while first < end:
        number = first // CHUNK_BYTES
        start = number * CHUNK_BYTES
        stop = min(end, start + CHUNK_BYTES)
        yield number, first - start, stop - start
        first = stop


def _read_checked(fd: int, ref: InstanceRef, cut: Cut) -> bytes:
    number, first, stop = cut
    start = number * CHUNK_BYTES
    length = min(CHUNK_BYTES, ref.size_bytes - start)
    try:
        chunk = os.pread(fd, length, start)
    except OSError as error:
        _refuse(ref, error)
    stored = ref.chunk_crcs[number * CRC_BYTES : (number + 1) * CRC_BYTES]
    if len(chunk) != length or crc32c(chunk).to_bytes(CRC_BYTES, "big") != stored:
        raise ObjectCorrupt(sop_instance_uid=ref.sop_instance_uid)
    return chunk if stop - first == length else chunk[first:stop]


def _join(fd: int, ref: InstanceRef, cuts: Sequence[Cut]) -> bytes:
    if len(cuts) == 1:
        return _read_checked(fd, ref, cuts[0])
    return b"".join(_read_checked(fd, ref, cut) for cut in cuts)


def _is_cached(fd: int, cut: Cut) -> bool:
    """Whether the page cache has the chunk, judged by its last wanted byte; if not, the disk is asked to fetch on."""
    if _NO_WAIT is None:
        return True
    number, _, stop = cut
    start = number * CHUNK_BYTES
    try:
        os.preadv(fd, [bytearray(1)], start + stop - 1, _NO_WAIT)
    except BlockingIOError:
        os.posix_fadvise(fd, start, _AHEAD, os.POSIX_FADV_WILLNEED)
        return False
    except OSError:  # a file system without the question
        return False
    return True


def _refuse(ref: InstanceRef, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise ObjectMissing(sop_instance_uid=ref.sop_instance_uid) from error
    if error.errno in _DAMAGE:
        raise ObjectCorrupt(sop_instance_uid=ref.sop_instance_uid) from error
    raise ArchiveAway from error
