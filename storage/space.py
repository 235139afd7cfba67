"""Room on the store's disk: images are refused before it ends, so that the record and the consents can go on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StoreFull

FLOOR_BYTES = 2 << 30
FLOOR_SHARE = 0.02
RESERVE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The room below `root`: the floor for images (bytes and share of the disk), and a reserve file to give back.

    Something else may fill the disk below the floor; the reserve is given back then, and laid again at a later start.
    """

    root: Path
    floor_bytes: int = FLOOR_BYTES
    floor_share: float = FLOOR_SHARE
    reserve_bytes: int = RESERVE_BYTES

    def require(self, size_bytes: int = 0) -> None:
        """Raises StoreFull when storing so many bytes would go below the floor."""
        disk = os.statvfs(self.root)
        free = disk.f_bavail * disk.f_frsize
        floor = max(self.floor_bytes, int(self.floor_share * disk.f_blocks * disk.f_frsize))
        if free - size_bytes < min(floor, disk.f_blocks * disk.f_frsize // 2):
            raise StoreFull

    def lay_reserve(self) -> None:
        """Set the reserve aside, if there is room for it above the floor."""
        path = self.root / "reserve"
        if path.exists() or not self.reserve_bytes:
            return
        try:
            self.require(self.reserve_bytes)
        except StoreFull:
            return
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, self.reserve_bytes)
            else:
                file.write(bytes(self.reserve_bytes))

    def give_reserve_back(self) -> None:
        """Let the database have the room that was set aside."""
        (self.root / "reserve").unlink(missing_ok=True)
