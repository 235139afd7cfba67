"""The epoch: a number that grows whenever what somebody may see can have shrunk.

Whoever narrows visibility (revocation, suspension, withdrawal, token revocation) bumps it in the same transaction;
whoever holds a decision confirms it from the database (law 8).
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from storage.tables import epoch

_BUMP = update(epoch).where(epoch.c.name == bindparam("which")).values(value=epoch.c.value + 1)
_CURRENT = select(epoch.c.value).where(epoch.c.name == bindparam("which"))


def bump(tx: Connection) -> None:
    """Make every node decide again about the streams it is sending."""
    tx.execute(_BUMP, {"which": "global"})


def current(tx: Connection) -> int:
    """The epoch as this transaction sees it."""
    return int(tx.execute(_CURRENT, {"which": "global"}).scalar_one())
