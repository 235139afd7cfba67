"""The epoch: a number that grows whenever what somebody may see can have shrunk.

Whoever narrows visibility (revocation, suspension, withdrawal, token revocation) bumps it in the same transaction;
whoever holds a decision confirms it from the database (law 8).
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, bindparam, select, update

from storage.database import Database
from storage.tables import epoch

_BUMP = update(epoch).where(epoch.c.name == bindparam("which")).values(value=epoch.c.value + 1)
_CURRENT = select(epoch.c.value).where(epoch.c.name == bindparam("which"))


def bump(tx: Connection) -> None:
    """Make every node decide again about the streams it is sending."""
    tx.execute(_BUMP, {"which": "global"})


def current(tx: Connection) -> int:
    """The epoch as this transaction sees it."""
    return int(tx.execute(_CURRENT, {"which": "global"}).scalar_one())


def open_glance(database: Database) -> Callable[[], int] | None:
    """A way to read the epoch on the calling thread in microseconds, where the database is a file; else None.

    The function it gives is to be called from one thread at a time.
    """
    if not database.is_sqlite:
        return None
    cursor = database.open_cursor()
    query = "SELECT value FROM epoch WHERE name = 'global'"

    def glance() -> int:
        return int(cursor.execute(query).fetchone()[0])

    return glance
