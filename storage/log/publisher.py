"""Sign the tree's head and publish it, in this order, so that no crash leaves a promise that cannot be kept.

1. the events' places are committed (storage/log/sequencer.py)
2. the tiles are made from the events, hashed once more; their root must be the tree's
3. every checkpoint remembered outside the database must be the beginning of this tree, proven by the tiles
4. the new checkpoint is signed and remembered outside the database, in every place
5. it is kept beside the tree, if no other sequencer has moved the tree since
6. it is published as the file `checkpoint`
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, bindparam, select

from storage.database import Database
from storage.log.checkpoint import Checkpoint, Signer, VerifierKey, opened, signed
from storage.log.errors import CheckpointInvalid, CheckpointRefused, LogDamaged
from storage.log.files import make_directories, replace_file
from storage.log.last_signed import LastSigned
from storage.log.merkle import consistency_proof, leaf_hash, verify_consistency
from storage.log.sequencer import Tree, keep_note, tree_of
from storage.log.tiles import WIDTH, Tiles
from storage.tables import log_event

PAGE: Final = 4096  # bodies read at once

_logger: Final = logging.getLogger(__name__)
_BODIES: Final = (
    select(log_event.c.leaf, log_event.c.body)
    .where(log_event.c.leaf >= bindparam("first"), log_event.c.leaf < bindparam("end"))
    .order_by(log_event.c.leaf)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A checkpoint that the log must agree with, and where it was found."""

    where: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the log holds, and every checkpoint that is remembered of it, with the file that remembers."""

    tree: Tree
    signed_before: Sequence[tuple[Path, Checkpoint]]


class Publisher:
    """Publishes the tree of one database below a directory.

    Parameters
    ----------
    database : holds the tree
    directory : gets `checkpoint`, `key` and `tile/`
    key : the log's verifier key, whose name is the log's origin
    signer : holds the private half
    last_signed : the memory outside the database
    """

    def __init__(
        self, database: Database, directory: Path, *, key: VerifierKey, signer: Signer, last_signed: LastSigned
    ) -> None:
        self._database = database
        self._directory = directory
        self._key = key
        self._signer = signer
        self._last_signed = last_signed
        self.tiles = Tiles(directory)

    def published(self) -> tuple[Checkpoint, str] | None:
        """Read what is published here; None when there is nothing, or nothing that this log signed."""
        try:
            note = (self._directory / "checkpoint").read_text()
            return opened(note, self._key), note
        except (FileNotFoundError, CheckpointInvalid, UnicodeDecodeError):
            return None

    def witness(self, where: str, note: str, say: Callable[[str], None]) -> list[Witness]:
        """Read a signed note that the log must agree with; one that this log did not sign is a problem to `say`."""
        try:
            return [Witness(where=where, checkpoint=opened(note, self._key))]
        except CheckpointInvalid as error:
            say(f"As for {where}: {error}")
            return []

    def witnesses(self, say: Callable[[str], None]) -> list[Witness]:
        """Read every checkpoint file that the log must agree with."""
        found = []
        for path in (*self._last_signed.files, self._directory / "checkpoint"):
            with suppress(FileNotFoundError):
                found += self.witness(f"the checkpoint in {path}", path.read_text(errors="replace"), say)
        return found

    def refuse_to_go_back(self) -> State:
        """Read what was signed and what the log holds; CheckpointRefused when it holds less than was signed."""
        # in this order: what another sequencer signs was committed before, so the tree read next holds it
        signed_before = self._signed_before()
        tree = self._database.read(tree_of)
        for path, earlier in signed_before:
            if earlier.size > tree.size:
                raise CheckpointRefused(
                    f"The log holds {tree.size} sequenced events, but {path} shows that {earlier.size} were signed. "
                    "An older copy of the database was restored; nothing is signed until the newest one is back."
                )
        return State(tree=tree, signed_before=signed_before)

    def sign(self, fence: int) -> Checkpoint:
        """Sign and publish the tree's present head.

        Raises CheckpointRefused when that would contradict what was signed, LogDamaged when the events do not give the
        tree's root, OSError when a place cannot take the checkpoint. Nothing is published then.
        """
        state = self.refuse_to_go_back()
        head = Checkpoint(origin=self._key.name, size=state.tree.size, root=state.tree.root)
        self._demand_whole(head, state.signed_before)
        note = signed(head, self._signer)
        self._last_signed.remember(head, note)
        if not self._database.write(keep_note, note, fence):
            raise CheckpointRefused("Another sequencer has moved the tree; its checkpoint is published instead.")
        self._publish(note)
        return head

    def follow(self) -> Checkpoint | None:
        """Publish here what another node signed; None when nothing was signed so far."""
        state = self.refuse_to_go_back()
        note = state.tree.checkpoint
        if not note:
            return None
        head = opened(note, self._key)
        if not self.current(head):
            self._demand_whole(head, state.signed_before)
            self._last_signed.remember_unless_ahead(head, note)
            self._publish(note)
        return head

    def current(self, head: Checkpoint) -> bool:
        """Say whether this head is published here and remembered everywhere."""
        here = self.published()
        return here is not None and here[0] == head and self._last_signed.reaches(head)

    def repair(self) -> bool:
        """Make the published tree's tiles anew; false when the events do not give its root."""
        here = self.published()
        return here is not None and self._extended_from(0, here[0])

    def _demand_whole(self, head: Checkpoint, signed_before: Sequence[tuple[Path, Checkpoint]]) -> None:
        self._bring_tiles(head)
        for path, earlier in signed_before:
            if earlier.size <= head.size and not self._is_beginning(earlier, head):
                raise CheckpointRefused(
                    f"The first {earlier.size} events are not those that were signed (see {path}). The database was "
                    "restored or altered; nothing is signed until the one that belongs to this checkpoint is back."
                )

    def _signed_before(self) -> list[tuple[Path, Checkpoint]]:
        here = self.published()
        return self._last_signed.remembered() + ([(self._directory / "checkpoint", here[0])] if here else [])

    def _is_beginning(self, earlier: Checkpoint, head: Checkpoint) -> bool:
        if earlier.size in {0, head.size}:
            return earlier.size == 0 or earlier.root == head.root
        proof = consistency_proof(earlier.size, head.size, self.tiles.subtree(head.size))
        return verify_consistency(earlier.size, head.size, earlier.root, head.root, proof)

    def _bring_tiles(self, head: Checkpoint) -> None:
        """Make the tiles of `head` from the events, anew from the first one where those here do not add up."""
        if not self._extended_from(self._tiled(), head) and not self._extended_from(0, head):
            raise LogDamaged(f"The first {head.size} events do not give the tree's root; run `openpriors log verify`.")

    def _extended_from(self, size: int, head: Checkpoint) -> bool:
        """Extend the tiles of `size` leaves to those of `head`; false, and nothing written, when they would not be."""
        if size > head.size:
            return False
        start = size // WIDTH * WIDTH
        try:
            frontier = self.tiles.frontier(start, size)
            frontier.extend(self._leaves(start, head.size))
            if frontier.root() != head.root:
                return False
            self.tiles.extend(size, self._leaves(start, head.size))
            return self.tiles.root(head.size) == head.root
        except LogDamaged:
            return False

    def _tiled(self) -> int:
        """Give the size whose tiles are here."""
        here = self.published()
        return here[0].size if here else 0

    def _leaves(self, first: int, end: int) -> Iterator[bytes]:
        """Hash the events `first` to `end` of the tree from their bodies."""
        while first < end:
            page = self._database.read(_bodies, first, min(first + PAGE, end))
            for leaf, body in page:
                if leaf != first:
                    raise LogDamaged(f"No event has place {first} in the tree.")
                yield leaf_hash(body)
                first += 1
            if not page:
                raise LogDamaged(f"No event has place {first} in the tree.")

    def _publish(self, note: str) -> None:
        if self.published() is None and (self._directory / "checkpoint").exists():
            _logger.warning("what was published as the checkpoint was not this log's; it is replaced")
        make_directories(self._directory)
        replace_file(self._directory / "key", (self._key.text() + "\n").encode())
        replace_file(self._directory / "checkpoint", note.encode())


def _bodies(tx: Connection, first: int, end: int) -> list[tuple[int, bytes]]:
    return [(row.leaf, bytes(row.body)) for row in tx.execute(_BODIES, {"first": first, "end": end})]
