"""Notice when a store is opened with keys that are not its own, before anything is sealed or signed with them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, insert, select

from storage.errors import WrongStore
from storage.log.checkpoint import VerifierKey
from storage.sealing import KeyRing
from storage.tables import store_identity

_KEYS: Final = "keys"
_LOG_KEY: Final = "log key"


def demand_own_keys(tx: Connection, keys: KeyRing, key: VerifierKey) -> None:
    """Remember a new store's keys; WrongStore when the store was begun with others.

    Without this, a lost key directory would be made anew in silence, and nothing sealed before could ever be opened.
    """
    mine = {_KEYS: keys.fingerprint().hex(), _LOG_KEY: key.text()}
    known = {row.name: row.value for row in tx.execute(select(store_identity))}
    for name, value in mine.items():
        if known.get(name, value) != value:
            raise WrongStore(
                f"The keys in {keys.directory} are not those that this store was begun with ({name}); "
                "put the right key directory back."
            )
    missing = [{"name": name, "value": value} for name, value in mine.items() if name not in known]
    if missing:
        tx.execute(insert(store_identity), missing)
