"""Signed forms: kept once by digest, encrypted with a key outside the data directory (law 13)."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection

from storage.model import Instant


class Sealing(Protocol):
    """What `storage.sealing.Sealer` does: encrypt and decrypt, bound to a context."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt `plain`."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what was sealed in the same context."""


def keep(tx: Connection, sealer: Sealing, form: bytes, at: Instant) -> str:
    """Keep a signed form; gives its digest (SHA-256, hex), which a Draft carries as `form_digest`."""
    raise NotImplementedError


def read(tx: Connection, sealer: Sealing, digest: str) -> bytes:
    """The signed form. Raises UnknownForm."""
    raise NotImplementedError
