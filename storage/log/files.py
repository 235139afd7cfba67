"""Files that survive a power cut whole: written aside, synced, then put in place, and the directory synced.

A reader sees the old content or the new, never a part.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put `content` at `path`, over whatever was there; durable when it returns."""
    aside = _write_aside(path, content, mode)
    try:
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def create_file(path: Path, content: bytes, *, mode: int = 0o600) -> bool:
    """Put `content` at `path` unless a file is there already; false when one is. Durable when it returns."""
    aside = _write_aside(path, content, mode)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    sync_directory(path.parent)
    return True


def make_directories(path: Path, *, mode: int = 0o755) -> None:
    """Make a directory and its parents, each durable in the one above it."""
    if path.is_dir():
        return
    make_directories(path.parent, mode=mode)
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_aside(path: Path, content: bytes, mode: int) -> Path:
    aside = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return aside
