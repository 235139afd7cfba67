"""The last signed checkpoint, remembered outside the database: what a restored database may not fall behind.

It is kept beside the keys where that directory can be written (a restore of the data directory does not touch it),
in the data directory otherwise, and in the configured place off the machine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from storage.log.checkpoint import Checkpoint, VerifierKey, opened
from storage.log.errors import CheckpointInvalid, CheckpointRefused
from storage.log.files import make_directories, replace_file

NAME = "log.checkpoint"


class LastSigned:
    """Every file that remembers the last signed checkpoint.

    Parameters
    ----------
    kept : files that must each hold a checkpoint before it is published
    asked : further files that may hold one from an earlier arrangement
    key : the log's verifier key
    """

    def __init__(self, *, kept: Sequence[Path], asked: Sequence[Path], key: VerifierKey) -> None:
        self._kept = list(dict.fromkeys(kept))
        self.files = list(dict.fromkeys((*kept, *asked)))
        self._key = key

    def remembered(self) -> list[tuple[Path, Checkpoint]]:
        """Read every file; CheckpointRefused when one holds something that this log's key did not sign."""
        return [(path, found) for path in self.files if (found := self._read(path)) is not None]

    def reaches(self, checkpoint: Checkpoint) -> bool:
        """Say whether every file that must hold this checkpoint holds it, or a later one."""
        held = [self._read(path) for path in self._kept]
        return all(found is not None and (found == checkpoint or found.size > checkpoint.size) for found in held)

    def remember(self, checkpoint: Checkpoint, note: str) -> None:
        """Make a checkpoint durable in every file; OSError when one cannot take it, CheckpointRefused to go back."""
        for path in self._kept:
            ahead = self._write(path, checkpoint, note)
            if ahead is not None:
                raise CheckpointRefused(f"{path} already counts {ahead.size} events.")

    def remember_unless_ahead(self, checkpoint: Checkpoint, note: str) -> None:
        """Make a checkpoint that another node signed durable, where no later one of that node is there already."""
        for path in self._kept:
            self._write(path, checkpoint, note)

    def _write(self, path: Path, checkpoint: Checkpoint, note: str) -> Checkpoint | None:
        """Write unless the file holds a later checkpoint, which is given back then."""
        make_directories(path.parent)
        with _locked(path):
            earlier = self._read(path)
            if earlier is not None and earlier.size > checkpoint.size:
                return earlier
            if earlier != checkpoint:
                replace_file(path, note.encode())
        return None

    def _read(self, path: Path) -> Checkpoint | None:
        try:
            return opened(path.read_text(), self._key)
        except FileNotFoundError:
            return None
        except (CheckpointInvalid, UnicodeDecodeError) as error:
            raise CheckpointRefused(f"{path} does not hold a checkpoint signed with this log's key: {error}") from error


def last_signed(keys: Path, data_dir: Path, copy: Path | None, key: VerifierKey) -> LastSigned:
    """Choose the places: beside the keys or else in the data directory, and the configured directory."""
    own = keys if os.access(keys, os.W_OK) else data_dir
    kept = [place / NAME for place in (own, copy) if place is not None]
    return LastSigned(kept=kept, asked=[keys / NAME, data_dir / NAME], key=key)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing this file."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
