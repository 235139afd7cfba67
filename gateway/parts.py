"""The opened parts of one installation: what `gateway/app.py` wires, and what commands work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.settings import Settings
from storage.archive.disk import DiskArchive
from storage.data_directory import DataDirectory
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.log.presence import Presence
from storage.model import Instant
from storage.sealing import KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that has been opened, and closes together."""

    settings: Settings
    clock: Callable[[], Instant]
    database: Database
    keys: KeyRing
    directory: DataDirectory
    archive: DiskArchive
    presence: Presence
    log: AuditLog

    def close(self) -> None:
        """Commit what is queued and let go."""
        self.presence.close()
        self.archive.close()
        self.database.close()
        self.directory.close()
