"""Quarantine: bytes that arrived and may not be served, kept by their digest until an operator has looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, func, insert, select, update

from storage.model import Instant
from storage.tables import quarantine

LIMIT_BYTES: Final = 10 << 30

_HELD: Final = select(func.coalesce(func.sum(quarantine.c.size_bytes), 0)).where(quarantine.c.state == "held")
_BY_DIGEST: Final = select(quarantine.c.id, quarantine.c.state).where(quarantine.c.digest == bindparam("digest"))
_LIST: Final = select(quarantine).where(quarantine.c.state == "held").order_by(quarantine.c.id)
_ONE: Final = select(quarantine).where(quarantine.c.id == bindparam("key"))
_SET_STATE: Final = update(quarantine).where(quarantine.c.id == bindparam("key")).values(state=bindparam("new_state"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """Bytes in quarantine: why, from whom, since when. `state` is held, released or discarded."""

    key: int
    digest: bytes
    size_bytes: int
    sop_instance_uid: str | None
    reason: str
    source: str
    received_at: Instant
    state: str


def held_bytes(tx: Connection) -> int:
    """How much is held."""
    return int(tx.execute(_HELD).scalar_one())


def confine(tx: Connection, one: Confined) -> None:
    """Record bytes whose file is in quarantine; what is recorded already stays as it was, unless it was let go."""
    found = tx.execute(_BY_DIGEST, {"digest": one.digest}).first()
    if found is None:
        row = {name: getattr(one, name) for name in Confined.__slots__ if name != "key"}
        tx.execute(insert(quarantine).values(**row, locator=one.digest.hex()))
    elif found.state != "held":
        set_state(tx, found.id, "held")


def list_held(tx: Connection) -> Sequence[Confined]:
    """All that waits for an operator, oldest first."""
    return [_confined(row._asdict()) for row in tx.execute(_LIST)]


def find(tx: Connection, key: int) -> Confined | None:
    """One entry."""
    row = tx.execute(_ONE, {"key": key}).first()
    return _confined(row._asdict()) if row is not None else None


def set_state(tx: Connection, key: int, state: str) -> None:
    """Note that the bytes are held, released or discarded."""
    tx.execute(_SET_STATE, {"key": key, "new_state": state})


def _confined(row: dict[str, object]) -> Confined:
    columns = {name: row["id" if name == "key" else name] for name in Confined.__slots__}
    return Confined(**columns)  # type: ignore[arg-type]
