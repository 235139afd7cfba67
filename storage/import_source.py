"""What there is to import below some paths: files, folders, ZIP archives, and media with a DICOMDIR.

Names are only walked and told, never followed: no symbolic link below a folder, no ReferencedFileID of a DICOMDIR, and
no name inside an archive, from which nothing is unpacked to a file of that name.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from storage.content import Unreadable
from storage.outcome import CANNOT_UNDERSTAND, PROCESSING_FAILURE, Outcome, Status
from storage.reception import Received
from storage.unusable import OverLimit

ENTRIES: Final = 200_000
"""Files in one archive: its list of names is kept in memory."""
RATIO: Final = 200
"""What one entry may inflate to, as a multiple of its compressed size: images stay below 20."""
FREE_BYTES: Final = 16 << 20
"""What any entry may inflate to: an empty image compresses well."""

_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_PREFIX: Final = slice(128, 132)  # where a DICOM file says DICM, whatever its preamble pretends
_INDEX_NAMES: Final = frozenset({"DICOMDIR", "DIRFILE"})
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1


def find(paths: Iterable[Path], *, entries: int = ENTRIES) -> Iterator[Received | Outcome]:
    """Every file below these paths, in the order of their names: what may be an instance, and what is refused unread.

    A DICOMDIR given as a path stands for its folder. Close a source that is not handed to `Ingest`.
    """
    for path in paths:
        if path.name.upper() in _INDEX_NAMES and path.is_file():
            yield from _walk(path.parent, entries)
        else:
            yield from _walk(path, entries)


def _walk(top: Path, entries: int) -> Iterator[Received | Outcome]:
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            mode = path.stat(follow_symlinks=path is top).st_mode
            if stat.S_ISDIR(mode):
                waiting += sorted(path.iterdir(), reverse=True)
                continue
        except OSError as error:
            yield _refused(printable(path), f"The path cannot be read: {error.strerror}.")
            continue
        if stat.S_ISLNK(mode):
            yield _refused(printable(path), "A symbolic link inside a folder is not followed.")
        elif not stat.S_ISREG(mode):
            yield _refused(printable(path), "This is neither a file nor a folder.")
        elif _is_archive(path):
            yield from _open_archive(path, entries)
        else:
            yield Received(name=printable(path), source=path)


def printable(name: Path | str) -> str:
    """A file name as it can be shown and sent anywhere, without control characters and broken encodings."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_PREFIX.stop)
    except OSError:
        return False  # reading it tells why
    return start.startswith(_STARTS) and start[_PREFIX] != b"DICM"


def _open_archive(path: Path, most: int) -> Iterator[Received | Outcome]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
        yield _refused(printable(path), "The ZIP archive is damaged.", CANNOT_UNDERSTAND)
        return
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > most:
            yield _refused(printable(path), f"The ZIP archive has more than {most} files.", CANNOT_UNDERSTAND)
            return
        for entry in entries:
            yield _open_entry(archive, entry, f"{printable(path)}/{printable(entry.filename)}")


def _open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Received | Outcome:
    if entry.flag_bits & _ENCRYPTED:
        return _refused(name, "This file of the ZIP archive is encrypted.")
    if entry.compress_type not in _METHODS:
        return _refused(name, "This file of the ZIP archive is compressed in a way that is not read here.")
    if entry.file_size > _limit(entry):
        return _refused(name, "This file of the ZIP archive would inflate to far more than an image does.")
    return Received(name=name, source=cast("BinaryIO", _Entry(archive, entry)))


def _limit(entry: zipfile.ZipInfo) -> int:
    return max(FREE_BYTES, RATIO * entry.compress_size)


class _Entry(io.RawIOBase):
    """One file of an archive, bounded; the archive stays open until its last entry was closed."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        self._left, self._begun = _limit(entry), False
        self._file: BinaryIO | None
        try:
            self._file = cast("BinaryIO", archive.open(entry))
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
            self._file = None  # the first read tells

    def read(self, size: int = -1) -> bytes:
        """Raises Unreadable, OverLimit."""
        if self._file is None:
            raise Unreadable("This file of the ZIP archive is damaged.")
        try:
            data = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise Unreadable("This file of the ZIP archive is damaged.") from error
        self._left -= len(data)
        if self._left < 0:
            raise OverLimit("This file of the ZIP archive inflates to far more than an image does.")
        nested = not self._begun and data[:4] in _STARTS and data[_PREFIX] != b"DICM"
        self._begun = True
        if nested:
            raise Unreadable("A ZIP archive inside another is not opened.")
        return data

    def close(self) -> None:
        """Let the archive be closed."""
        if self._file is not None:
            self._file.close()
        super().close()


def _refused(name: str, reason: str, failure_reason: int = PROCESSING_FAILURE) -> Outcome:
    return Outcome(name=name, status=Status.REJECTED, reason=reason, failure_reason=failure_reason)
