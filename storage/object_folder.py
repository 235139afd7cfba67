"""A folder of files that are named by what is in them: `aa/bb/<SHA-256>`, written once, durable before they are named.

No text of a received file ever becomes a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from storage.checksums import CHUNK_BYTES
from storage.durable import Sync, Writability, make_directory
from storage.spool import Staged

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_HEX = frozenset("0123456789abcdef")
_DIGEST_DIGITS = 64


class ObjectFolder:
    """Files by their digest below `root`, which exists."""

    def __init__(self, root: Path, writability: Writability, sync: Sync | None = None) -> None:
        self.root = root
        self._prefix = str(root)
        self._writability = writability
        self._sync = sync or Sync()
        self._durable: set[Path] = set()  # directories whose own names are known to be on the disk
        self._lock = threading.Lock()

    def path_of(self, digest: bytes) -> Path:
        """Where the bytes with this SHA-256 are, or would be."""
        return Path(self.name_of(digest))

    def name_of(self, digest: bytes) -> str:
        """The same as text: a retrieve asks for hundreds of them."""
        name = digest.hex()
        return f"{self._prefix}/{name[:2]}/{name[2:4]}/{name}"

    def has(self, digest: bytes, size_bytes: int) -> bool:
        """Whether there is a file of that name and size; its bytes are not looked at."""
        try:
            return os.lstat(self.name_of(digest)).st_size == size_bytes
        except OSError:
            return False

    def put(self, staged: Staged) -> None:
        """Keep what was staged; on return it survives a power cut.

        Raises
        ------
        StoreFull : there is no room
        ReadOnly : the disk failed, now or earlier
        """
        self._writability.require()
        final = self.path_of(staged.digest)
        with self._writability.guard():
            staged.sync(self._sync)
            self._make_durable(final.parent)
            self._link(staged, final)
            self._sync.directory(final.parent)

    def take(self, source: Path, digest: bytes) -> None:
        """Keep a file of another folder of the same store under its digest too."""
        final = self.path_of(digest)
        with self._writability.guard():
            self._make_durable(final.parent)
            with contextlib.suppress(FileExistsError):
                os.link(source, final)
            self._sync.directory(final.parent)

    def remove(self, digest: bytes) -> None:
        """The bytes with this digest are gone, for good and durably; that they were not there is no error."""
        final = self.path_of(digest)
        with self._writability.guard():
            final.unlink(missing_ok=True)
            if final.parent.is_dir():
                self._sync.directory(final.parent)

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """Digest and size in bytes of every file, ascending by digest; files with other names are left out."""
        for path in self._files():
            if _is_digest(path.name):
                yield bytes.fromhex(path.name), path.lstat().st_size

    def strangers(self) -> Iterator[Path]:
        """Files in the folder that nothing here has named."""
        return (path for path in self._files() if not _is_digest(path.name))

    def _files(self) -> Iterator[Path]:
        """The files of one leaf directory after the other, so that no list holds them all."""
        waiting = [self.root]
        while waiting:
            directory = waiting.pop()
            children = sorted(directory.iterdir(), reverse=True)
            waiting += [child for child in children if child.is_dir() and not child.is_symlink()]
            yield from (child for child in reversed(children) if not child.is_dir() or child.is_symlink())

    def _make_durable(self, leaf: Path) -> None:
        for directory in (leaf.parent, leaf):
            if directory not in self._durable:
                make_directory(directory, self._sync)
                with self._lock:
                    self._durable.add(directory)

    def _link(self, staged: Staged, final: Path) -> None:
        try:
            os.link(staged.path, final, follow_symlinks=False)
        except FileExistsError:
            if digest_of(final) != staged.digest:
                # the bytes under this name are not what the name says: the good ones take their place
                staged.path.replace(final)


def _is_digest(name: str) -> bool:
    return len(name) == _DIGEST_DIGITS and _HEX.issuperset(name)


def digest_of(path: Path) -> bytes | None:
    """SHA-256 of a file, or None when it cannot be read."""
    try:
        with os.fdopen(os.open(path, READ_FLAGS), "rb") as file:
            sha256 = hashlib.sha256()
            while piece := file.read(CHUNK_BYTES):
                sha256.update(piece)
            return sha256.digest()
    except OSError:
        return None
