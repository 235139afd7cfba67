"""The real DICOM files that tests read: pydicom's own, pydicom-data's, and the studies beside the project."""

from __future__ import annotations

from pathlib import Path

import data_store
import pydicom

_SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
_NOT_SAMPLES = {".py", ".pyc", ".json", ".icc", ".md", ".txt", ".dump", ".gz"}


def installed() -> list[Path]:
    """What the wheels of pydicom and pydicom-data bring, DICOMDIRs and broken files included."""
    roots = (Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data")
    return sorted(path for root in roots for path in root.rglob("*") if _is_sample(path))


def shared() -> list[Path]:
    """The sample studies in ../shared/data, which are no part of the project: none where they are absent."""
    return sorted(path for path in _SHARED.rglob("*") if _is_sample(path)) if _SHARED.is_dir() else []


def everything() -> list[Path]:
    return installed() + shared()


def named(name: str) -> bytes:
    return next(path for path in installed() if path.name == name).read_bytes()


def _is_sample(path: Path) -> bool:
    return path.is_file() and path.suffix not in _NOT_SAMPLES and not path.name.startswith(("LICENSE", "README"))
