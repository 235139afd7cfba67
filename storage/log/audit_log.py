"""The audit log of one process: append and record, find and read, sequence and prove, verify and export."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from storage.database import Database
from storage.errors import StorageError
from storage.log import appending, export, intents, proofs, reading, sequencer, verify
from storage.log.belonging import demand_own_keys
from storage.log.checkpoint import Checkpoint, Signer, VerifierKey, origin_of
from storage.log.entry import Prepared, prepare
from storage.log.errors import EventRefused, LogDamaged
from storage.log.event import AuditEvent, EventId, Kind
from storage.log.last_signed import last_signed
from storage.log.publisher import Publisher
from storage.log.recorder import Recorder
from storage.log.sequencing import Sequencing
from storage.model import Instant
from storage.sealing import KeyRing
from storage.tables import store_identity

LOCAL_NODE: Final = "local"  # every process of one data directory writes as this node
ROUND_S: Final = 1.0  # between two checkpoints: at least this, and not much more while the log grows
HEARTBEAT_S: Final = 600.0  # an idle log says so as often

_logger: Final = logging.getLogger(__name__)


class AuditLog:
    """The record of what was done: durable before the deed, provable afterwards.

    Functions that take `tx` run inside the caller's transaction; the others block, but for `record` and
    `run_sequencer`, which belong on the event loop.

    Parameters
    ----------
    database : holds the events, their openings and the tree
    keys : seal the openings, hide the subjects, sign the checkpoints
    data_dir : tiles and checkpoint are published in its `log` directory
    node : name of this node, unique among the nodes that share a PostgreSQL database; SQLite has one node, `local`
    process : name of this process, from storage/log/presence.py
    clock : the present instant
    checkpoint_copy : directory off this machine that gets every checkpoint before it is published
    signer : signs the checkpoints; the ring's key file unless a key management service does
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        data_dir: Path,
        *,
        node: str,
        process: str,
        clock: Callable[[], Instant],
        checkpoint_copy: Path | None = None,
        signer: Signer | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", node):
            raise EventRefused("A node's name has 1 to 64 letters, digits, dots, dashes or underscores.")
        self.database = database
        self.keys = keys
        self.data_dir = data_dir
        self.node = LOCAL_NODE if database.is_sqlite else node
        self.process = process
        self.clock = clock
        self.checkpoint_copy = checkpoint_copy
        self.signer = signer or keys.signer
        self.trouble: str | None = None  # why the last round of the sequencer failed; None when it did not
        self._writer = appending.Writer(keys=keys, node=self.node, process=process)
        self._recorder = Recorder(database, self._append)

    def demand_own_keys(self, tx: Connection) -> None:
        """Remember a new store's keys; WrongStore when the store was begun with others. Called at start."""
        demand_own_keys(tx, self.keys, self.verifier_key)

    # -- writing

    def append(self, tx: Connection, event: AuditEvent) -> EventId:
        """Write an event inside the caller's transaction: both are durable, or neither is (law 7)."""
        return self.append_many(tx, [event])[0]

    def append_many(self, tx: Connection, events: Sequence[AuditEvent]) -> list[EventId]:
        """Write events, in this order, inside the caller's transaction."""
        return self._append(tx, [prepare(event, self.keys) for event in events])

    async def record(self, event: AuditEvent) -> EventId:
        """Write an event and wait until it is durable; NotDurable when it could not be made so (law 6).

        An intent to retrieve stays open until the outcome of the same request is written, or a sweep closes it.
        """
        return await self._recorder.record(prepare(event, self.keys))

    def sweep(self, tx: Connection, alive: Callable[[str], bool]) -> list[EventId]:
        """Write UNKNOWN_AFTER_CRASH for the open intents of processes that are gone, each once."""
        left = intents.left_open(tx, alive)
        intents.forget(tx, left)
        return self.append_many(tx, [self._unknown(tx, row) for row in left])

    def erase(self, tx: Connection, place: EventId, fields: Sequence[str]) -> EventId:
        """Delete openings six years old for good, and say so in an event; every proof stays valid."""
        return self.append(tx, reading.erase(tx, place, fields, self.clock()))

    # -- reading

    def find(
        self, tx: Connection, kind: str, identifier: str, *, after: EventId | None = None, at_most: int = 1000
    ) -> list[EventId]:
        """Give the places of the events about a patient, study, facility, consent or person."""
        return reading.find(tx, self.keys, kind, identifier, after=after, at_most=at_most)

    def read(self, tx: Connection, place: EventId) -> reading.OpenedEvent:
        """Open an event; LogDamaged when it, or an opening of it, is not what was written."""
        return reading.read(tx, self.keys, place)

    # -- the tree

    @cached_property
    def verifier_key(self) -> VerifierKey:
        """The public key of the checkpoints, named after the store."""
        store = self.database.read(lambda tx: tx.execute(_STORE).scalar_one())
        return VerifierKey(name=origin_of(store), public_key=self.signer.public_key)

    @cached_property
    def publisher(self) -> Publisher:
        """What signs the tree and publishes it below the data directory."""
        remembered = last_signed(self.keys.directory, self.data_dir, self.checkpoint_copy, self.verifier_key)
        return Publisher(
            self.database,
            self.data_dir / "log",
            key=self.verifier_key,
            signer=self.signer,
            last_signed=remembered,
        )

    def sequence(self, tx: Connection) -> int:
        """Give waiting events their places in the tree, up to 128; gives how many. LogDamaged when a node is stuck."""
        done = sequencer.sequence(tx)
        if done.stuck and not done.placed:
            raise LogDamaged(" ".join(done.stuck))
        return done.placed

    def advance(self) -> Checkpoint | None:
        """Run one round of the sequencer: place every waiting event, sign, publish."""
        return Sequencing(self.database, self.publisher, self.data_dir).advance()

    async def run_sequencer(self, *, round_s: float = ROUND_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Run rounds until cancelled: a checkpoint within seconds of an event, a heartbeat when nothing happens.

        A round that fails is told in `trouble`, which readiness checks read, and tried again.
        """
        size, since = -1, time.monotonic()
        while True:
            checkpoint = await self._round()
            if checkpoint is not None and checkpoint.size != size:
                size, since = checkpoint.size, time.monotonic()
            elif time.monotonic() - since >= heartbeat_s:
                since = time.monotonic()
                await self._beat()
            await asyncio.sleep(round_s)

    def prove_inclusion(self, leaf: int) -> proofs.InclusionProof:
        """Prove that the event at `leaf` is in the published tree; NotYetSigned before it is."""
        try:
            return proofs.prove_inclusion(self.database, self.publisher, leaf)
        except LogDamaged:
            # tiles are derived: only when the events themselves do not give the signed root is the log damaged
            if not self.publisher.repair():
                raise
            return proofs.prove_inclusion(self.database, self.publisher, leaf)

    def prove_consistency(self, old_size: int) -> proofs.ConsistencyProof:
        """Prove that the tree of `old_size` leaves is the beginning of the published one."""
        return proofs.prove_consistency(self.publisher, old_size)

    def verify(self, tx: Connection, checkpoint: str | None = None) -> verify.Verification:
        """Check the whole log, also against an older signed `checkpoint`; `tx` must not have been used before."""
        return verify.verify(tx, self.keys, self.publisher, checkpoint)

    def export(self, tx: Connection, *, openings: bool) -> Iterator[bytes]:
        """Give the log as lines for deploy/verify_log.py; `tx` must not have been used before."""
        return export.whole(tx, self.keys, self.verifier_key, openings=openings)

    def export_events(self, tx: Connection, places: Sequence[EventId], *, openings: bool) -> Iterator[bytes]:
        """Give some signed events, each with its proof, as lines for deploy/verify_log.py."""
        return export.some(tx, self.keys, self.verifier_key, places, self.prove_inclusion, openings=openings)

    # -- private

    def _append(self, tx: Connection, prepared: Sequence[Prepared]) -> list[EventId]:
        return appending.append(tx, prepared, self._writer)

    def _unknown(self, tx: Connection, row: intents.OpenIntent) -> AuditEvent:
        """Say what is known of an intent without outcome; an intent that cannot be opened still gets its line."""
        try:
            subjects = reading.read(tx, self.keys, row.place).subjects
        except LogDamaged as damage:
            _logger.warning("an open intent cannot be read: %s", damage)
            subjects = ()
        return intents.unknown_after_crash(row, self.clock(), subjects)

    async def _round(self) -> Checkpoint | None:
        try:
            checkpoint = await asyncio.to_thread(self.advance)
        except Exception as error:  # whatever fails here must be seen by readiness and tried again
            self.trouble = str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {error}"
            _logger.exception("no checkpoint was published")
            return None
        self.trouble = None
        return checkpoint

    async def _beat(self) -> None:
        try:
            await self.record(AuditEvent(kind=Kind.HEARTBEAT, at=self.clock(), request=""))
        except StorageError:
            _logger.exception("the heartbeat was not recorded")


_STORE: Final = select(store_identity.c.value).where(store_identity.c.name == "store")
