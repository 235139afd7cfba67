"""Proofs about the signed tree, each verified before it is given out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, select

from storage.database import Database
from storage.log.checkpoint import Checkpoint
from storage.log.errors import LogDamaged, NotYetSigned
from storage.log.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    range_root,
    verify_consistency,
    verify_inclusion,
)
from storage.log.publisher import Publisher
from storage.tables import log_event

_BODY: Final = select(log_event.c.body).where(log_event.c.leaf == bindparam("leaf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That an event is in the signed tree: its index, the audit path (leaf to root), the signed checkpoint."""

    index: int
    hashes: Sequence[bytes]
    checkpoint: str

    def text(self) -> str:
        """Give the proof as a `.tlog-proof` file (C2SP tlog-proof@v1)."""
        path = "".join(b64encode(node).decode() + "\n" for node in self.hashes)
        return f"c2sp.org/tlog-proof@v1\nindex {self.index}\n{path}\n{self.checkpoint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyProof:
    """That the tree with `old_size` leaves and `old_root` is the beginning of the signed tree (RFC 9162 2.1.4)."""

    old_size: int
    old_root: bytes
    hashes: Sequence[bytes]
    checkpoint: str


def prove_inclusion(database: Database, publisher: Publisher, index: int) -> InclusionProof:
    """Prove that the event at `index` is in the published tree.

    Raises NotYetSigned when the published checkpoint does not reach it, LogDamaged when no proof can be made.
    """
    checkpoint, note = _published(publisher)
    if not 0 <= index < checkpoint.size:
        raise NotYetSigned
    leaf = leaf_hash(database.read(_body_at, index))
    hashes = inclusion_proof(index, checkpoint.size, publisher.tiles.subtree(checkpoint.size))
    if not verify_inclusion(index, checkpoint.size, leaf, hashes, checkpoint.root):
        raise LogDamaged(f"The event at place {index} or the tiles above it are not those that were signed.")
    return InclusionProof(index=index, hashes=hashes, checkpoint=note)


def prove_consistency(publisher: Publisher, old_size: int) -> ConsistencyProof:
    """Prove that the tree of `old_size` leaves is the beginning of the published one.

    Raises NotYetSigned when the published checkpoint is smaller, LogDamaged when no proof can be made.
    """
    checkpoint, note = _published(publisher)
    if not 0 <= old_size <= checkpoint.size:
        raise NotYetSigned
    subtree = publisher.tiles.subtree(checkpoint.size)
    old_root = range_root(0, old_size, subtree)
    hashes = consistency_proof(old_size, checkpoint.size, subtree)
    if not verify_consistency(old_size, checkpoint.size, old_root, checkpoint.root, hashes):
        raise LogDamaged("The tiles are not those that were signed.")
    return ConsistencyProof(old_size=old_size, old_root=old_root, hashes=hashes, checkpoint=note)


def _published(publisher: Publisher) -> tuple[Checkpoint, str]:
    found = publisher.published()
    if found is None:
        raise NotYetSigned
    return found


def _body_at(tx: Connection, index: int) -> bytes:
    row = tx.execute(_BODY, {"leaf": index}).first()
    if row is None:
        raise LogDamaged(f"No event has place {index} in the tree.")
    return bytes(row.body)
