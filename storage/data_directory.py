"""The data directory: what is where in it, whose it is, and how it is made ready at a start."""

from __future__ import annotations

import contextlib
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, insert, select

from storage.database import Database
from storage.durable import Sync, Writability
from storage.errors import WrongStore
from storage.object_folder import ObjectFolder
from storage.space import Space
from storage.spool import Room, Spool, sweep
from storage.tables import store_identity

IDENTITY = "store-id"
OBJECT_LIMIT_BYTES = 16 << 30
CLAIMED = "directory"  # the row that says this database has a data directory


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectory:
    """An opened data directory: its folders, this process's spool, and whether it can still be written."""

    root: Path
    store_id: str
    objects: ObjectFolder
    quarantine: ObjectFolder
    spool: Spool
    space: Space
    writability: Writability

    def close(self) -> None:
        """Give the spool's folder back."""
        self.spool.close()


def new_store_id() -> str:
    """A name for a new store."""
    return str(uuid.uuid4())


def identity_of(root: Path) -> str | None:
    """The identity that this directory carries, or None for one that has none yet."""
    try:
        return (root / IDENTITY).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def open_data_directory(
    root: Path,
    database: Database,
    *,
    object_limit_bytes: int = OBJECT_LIMIT_BYTES,
    space: Space | None = None,
    sync: Sync | None = None,
) -> DataDirectory:
    """Open the data directory of `database`, laying what is missing; left-overs of dead processes are removed.

    Raises
    ------
    WrongStore : the directory belongs to another database, or is not the one this database knows
    """
    sync, writability = sync or Sync(), Writability()
    store_id = claim(root, database, sync)
    for name in ("objects", "quarantine", "tmp"):
        (root / name).mkdir(mode=0o700, exist_ok=True)
    sync.directory(root)
    sweep(root / "tmp")
    room = space or Space(root=root)
    room.lay_reserve()
    limits = Room(writability=writability, space=room, object_limit_bytes=object_limit_bytes)
    return DataDirectory(
        root=root,
        store_id=store_id,
        objects=ObjectFolder(root / "objects", writability, sync),
        quarantine=ObjectFolder(root / "quarantine", writability, sync),
        spool=Spool(root / "tmp", limits),
        space=room,
        writability=writability,
    )


def claim(root: Path, database: Database, sync: Sync) -> str:
    """See that directory and database belong together, marking both at the first start; gives the store's identity.

    Raises
    ------
    WrongStore : they do not: another directory is mounted here, or none
    """
    store_id, claimed = database.read(_identity_rows)
    found = identity_of(root)
    if found is None and claimed:
        raise WrongStore("The data directory is not the one this database was used with; is its disk mounted?")
    if found is None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = _mark(root, store_id, sync)
    if found != store_id:
        raise WrongStore("The data directory belongs to another database.")
    if not claimed:
        sync.directory(root.absolute().parent)  # the directory's own name
        database.write(_set_claimed)
    return store_id


def _identity_rows(tx: Connection) -> tuple[str, bool]:
    rows = {row.name: row.value for row in tx.execute(select(store_identity))}
    return rows["store"], CLAIMED in rows


def _set_claimed(tx: Connection) -> None:
    if CLAIMED not in {row.name for row in tx.execute(select(store_identity))}:
        tx.execute(insert(store_identity).values(name=CLAIMED, value="yes"))


def _mark(root: Path, store_id: str, sync: Sync) -> str:
    """Write the identity file, whole or not at all; gives the identity that stands there then."""
    draft = root / f"{IDENTITY}.{secrets.token_hex(8)}"
    with draft.open("x", encoding="ascii") as file:
        file.write(f"{store_id}\n")
        file.flush()
        sync.file(file.fileno())
    with contextlib.suppress(FileExistsError):  # another process came first
        (root / IDENTITY).hardlink_to(draft)
    draft.unlink()
    sync.directory(root)
    return identity_of(root) or ""
