"""Lay the tables of a new database, and the rows they start from."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from storage.tables import epoch, metadata, store_identity

VERSION = "1"


def install(tx: Connection, store_id: str) -> str:
    """Make what is missing; gives the identity of the store that this database belongs to.

    The tables of every package must have been imported. `store_id` names the store if it has no name yet.
    """
    metadata.create_all(tx)
    if tx.execute(select(epoch.c.value)).first() is None:
        tx.execute(insert(epoch).values(name="global", value=1))
    rows = {row.name: row.value for row in tx.execute(select(store_identity))}
    if "store" not in rows:
        rows = {"store": store_id, "schema": VERSION}
        tx.execute(insert(store_identity), [{"name": name, "value": value} for name, value in rows.items()])
    return str(rows["store"])
