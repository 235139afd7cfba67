"""Signed forms: kept once by digest, encrypted with a key outside the data directory (law 13)."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql

from consent.errors import ImproperConsent, UnknownForm
from consent.tables import signed_form
from storage.model import Instant
from storage.sealing import Sealer

LARGEST_BYTES: Final = 16 << 20
_FIND: Final = select(signed_form.c.sealed).where(signed_form.c.digest == bindparam("of_form"))
_KEPT: Final = select(signed_form.c.received_at).where(signed_form.c.digest == bindparam("of_form"))


def keep(tx: Connection, sealer: Sealer, form: bytes, at: Instant) -> str:
    """Keep a signed form; gives its digest (SHA-256, hex), which a Draft carries as `form_digest`.

    Raises
    ------
    ImproperConsent : it is empty, or larger than 16 MiB
    """
    if not 0 < len(form) <= LARGEST_BYTES:
        raise ImproperConsent("The signed form is empty, or larger than 16 MiB.")
    digest = sha256(form).hexdigest()
    if not is_kept(tx, digest):
        row = {"digest": digest, "sealed": sealer.seal(form, _context(digest)), "received_at": at}
        if tx.dialect.name == "postgresql":
            # two nodes may be handed the same form in the same moment
            tx.execute(insert_postgresql(signed_form).values(row).on_conflict_do_nothing())
        else:
            tx.execute(insert(signed_form), row)
    return digest


def read(tx: Connection, sealer: Sealer, digest: str) -> bytes:
    """The signed form, as it was handed in.

    Raises
    ------
    UnknownForm : none is kept under this digest
    NotSealedHere : it was altered, or sealed with another key
    """
    sealed = tx.execute(_FIND, {"of_form": digest}).scalar()
    if sealed is None:
        raise UnknownForm
    return sealer.open(sealed, _context(digest))


def is_kept(tx: Connection, digest: str) -> bool:
    """Whether a form is kept under this digest."""
    return tx.execute(_KEPT, {"of_form": digest}).scalar() is not None


def check_kept(tx: Connection, digest: str) -> None:
    """Refuse a digest of which no form is kept. Raises UnknownForm."""
    if not is_kept(tx, digest):
        raise UnknownForm


def _context(digest: str) -> str:
    return f"signed-form/{digest}"
