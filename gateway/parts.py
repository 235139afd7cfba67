"""The opened parts of one installation: what `gateway/app.py` wires, and what commands work with.

Nothing here reads images or speaks HTTP, so that a command which revokes a consent starts at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import gateway.auth.tables  # noqa: F401 - the metadata must know every table
from gateway.settings import Settings
from storage import schema
from storage.data_directory import DataDirectory, open_data_directory
from storage.database import Database, sqlite_url
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
    presence: Presence
    log: AuditLog

    def close(self) -> None:
        """Commit what is queued and let go."""
        self.presence.close()
        self.database.close()
        self.directory.close()


def open_parts(settings: Settings, clock: Callable[[], Instant]) -> Parts:
    """Open the data directory and the database that the settings name, making them when they are new.

    Raises
    ------
    WrongStore : directory and database do not belong together
    KeyRefused : the keys are kept where they must not be, or belong to another store
    """
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.database or sqlite_url(settings.data))
    database.write(schema.install, secrets.token_hex(16))
    directory = open_data_directory(settings.data, database, object_limit_bytes=settings.object_limit_bytes)
    keys = KeyRing(settings.key_directory, data_dir=settings.data)
    presence = Presence(database, settings.data)
    log = AuditLog(
        database,
        keys,
        settings.data,
        node=presence.name,
        process=presence.name,
        clock=clock,
        checkpoint_copy=settings.checkpoint_copy,
    )
    database.write(log.demand_own_keys)
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        keys=keys,
        directory=directory,
        presence=presence,
        log=log,
    )
