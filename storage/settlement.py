"""Settlement of a batch: each instance is judged, its bytes are made durable, and one transaction admits them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from sqlalchemy import Connection

from storage import quarantine
from storage.admission import Arrival, CameFirst, Terms, admit, find_by_digest, look_up
from storage.archive import WritableArchive
from storage.data_directory import DataDirectory
from storage.database import Database
from storage.elements import ScanLimits
from storage.errors import StorageError, StoreFull
from storage.fragment import instance_fragment
from storage.ingest_events import ingested, quarantined
from storage.judgement import DUPLICATE, Known, KnownInstance, Standing, Verdict
from storage.log.event import AuditEvent
from storage.model import Instant
from storage.outcome import CANNOT_UNDERSTAND, PROCESSING_FAILURE, Status
from storage.reception import Delivery, Taken

Append = Callable[[Connection, Sequence[AuditEvent]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPolicy:
    """What an installation decides about ingest."""

    default_issuer: str = "LOCAL"
    """Who assigned a PatientID that names no issuer (0010,0021)."""
    months: int = 12
    """How long each study is promised at least, in calendar months."""
    zone: tzinfo = UTC
    """The time zone in which days begin."""
    quarantine_bytes: int = quarantine.LIMIT_BYTES
    """How much is kept in quarantine; what comes later is refused without keeping it."""
    limits: ScanLimits = field(default_factory=ScanLimits)
    """What one instance may ask of the scanner."""


@dataclass(slots=True, kw_only=True)
class _Planned:
    """One instance of a batch: how it stands, its study's fragment, and where its bytes have been put."""

    taken: Taken
    verdict: Verdict
    basis: bytes = b""
    locator: str = ""
    fragment: bytes = b""
    confined: bool = False


class Settlement:
    """Settles batches; see `Ingest` for the parameters. `keepers` are the threads that wait for the disk."""

    def __init__(
        self,
        *,
        database: Database,
        archive: WritableArchive,
        directory: DataDirectory,
        append: Append,
        policy: IngestPolicy,
        clock: Callable[[], Instant],
        keepers: ThreadPoolExecutor,
    ) -> None:
        self._database = database
        self._archive = archive
        self._directory = directory
        self._append = append
        self._policy = policy
        self._clock = clock
        self._keepers = keepers

    def find_twin(self, digest: bytes, size_bytes: int) -> KnownInstance | None:
        """The instance that has exactly these bytes, if they are here."""
        if not self._archive.holds(digest, size_bytes):
            return None  # nearly always: one look at a directory spares a query
        return self._database.read(find_by_digest, digest, self._holds)

    def attempt(self, batch: Sequence[Taken], delivery: Delivery) -> None:
        """Bring these to their end, as far as nothing comes between.

        Raises
        ------
        CameFirst, IntegrityError : another process did; to be attempted again
        NotDurable : the commit failed
        """
        plan = self._database.read(self._plan, batch)
        list(self._keepers.map(self._keep, plan))
        plan = [one for one in plan if one.taken.outcome is None]
        self._database.write(self._commit, plan, delivery)
        for one in plan:
            _end(one)

    def _holds(self, archive_id: str, digest: bytes, size_bytes: int) -> bool:
        return archive_id != self._archive.archive_id or self._archive.holds(digest, size_bytes)

    def _plan(self, tx: Connection, batch: Sequence[Taken]) -> list[_Planned]:
        known = look_up(tx, [taken.candidate for taken in batch if taken.candidate], self._holds)
        room = self._policy.quarantine_bytes - quarantine.held_bytes(tx)
        plan = []
        for taken in batch:
            one = _judge(known, taken)
            if one.verdict.standing is Standing.CONFLICT and taken.candidate is not None:
                one.confined = taken.candidate.size_bytes <= room
                room -= taken.candidate.size_bytes if one.confined else 0
            plan.append(one)
        return plan

    def _keep(self, one: _Planned) -> None:
        """Make the bytes durable where they belong; whoever cannot be kept ends here."""
        candidate, staged = one.taken.candidate, one.taken.staged
        if candidate is None or staged is None:
            return
        try:
            if one.verdict.standing in {Standing.NEW, Standing.REPAIR}:
                one.fragment = instance_fragment(candidate.indexed.lines, one.basis)
                one.locator = self._archive.write(staged)
            elif one.confined:
                self._directory.quarantine.put(staged)
        except StorageError as error:
            if isinstance(error, StoreFull):
                self._directory.space.give_reserve_back()
            one.taken.fail(error)

    def _commit(self, tx: Connection, plan: Sequence[_Planned], delivery: Delivery) -> None:
        at = self._clock()
        terms = Terms(at=at, months=self._policy.months, zone=self._policy.zone, archive_id=self._archive.archive_id)
        self._confirm_twins(tx, plan)
        admit(tx, list(_arrivals(plan)), terms, self._holds)
        conflicts = [one for one in plan if one.verdict.standing is Standing.CONFLICT]
        for one in conflicts:
            if one.confined:
                quarantine.confine(tx, _confined(one, delivery, at))
        settled = [(one.taken, one.verdict.standing) for one in plan if one not in conflicts]
        events = ingested(delivery, at, settled)
        events += [quarantined(delivery, at, one.taken, one.verdict.reason, kept=one.confined) for one in conflicts]
        if events:
            self._append(tx, events)

    def _confirm_twins(self, tx: Connection, plan: Iterable[_Planned]) -> None:
        """What was known by its digest alone is still here."""
        for one in plan:
            twin = one.taken.twin
            if twin is not None:
                found = find_by_digest(tx, twin.digest, self._holds)
                if found is None or not found.promised:
                    one.taken.end(Status.FAILED, "The stored copy went away; send it again.", PROCESSING_FAILURE)
                    raise CameFirst


def _judge(known: Known, taken: Taken) -> _Planned:
    if taken.candidate is None:
        return _Planned(taken=taken, verdict=DUPLICATE)
    if taken.alarm:
        alarm = Verdict(standing=Standing.CONFLICT, reason=taken.alarm, failure_reason=CANNOT_UNDERSTAND)
        return _Planned(taken=taken, verdict=alarm)
    verdict = known.judge(taken.candidate)
    home = known.studies.get(taken.candidate.indexed.study_instance_uid)
    return _Planned(taken=taken, verdict=verdict, basis=home.fragment if home else b"")


def _arrivals(plan: Iterable[_Planned]) -> Iterable[Arrival]:
    for one in plan:
        if one.taken.candidate is not None and one.verdict.standing is not Standing.CONFLICT:
            yield Arrival(
                candidate=one.taken.candidate,
                planned=one.verdict.standing,
                locator=one.locator,
                basis=one.basis,
                fragment=one.fragment,
            )


def _confined(one: _Planned, delivery: Delivery, at: Instant) -> quarantine.Confined:
    assert one.taken.candidate is not None
    return quarantine.Confined(
        key=0,
        digest=one.taken.candidate.digest,
        size_bytes=one.taken.candidate.size_bytes,
        sop_instance_uid=one.taken.candidate.indexed.sop_instance_uid,
        reason=one.verdict.reason,
        source=f"{delivery.job}: {delivery.actor}",
        received_at=at,
        state="held",
    )


_ENDS = {
    Standing.NEW: Status.STORED,
    Standing.REPAIR: Status.STORED,
    Standing.DUPLICATE: Status.DUPLICATE,
    Standing.CONFLICT: Status.CONFLICT,
}


def _end(one: _Planned) -> None:
    kept = one.verdict.standing is not Standing.CONFLICT or one.confined
    reason = one.verdict.reason if kept else f"{one.verdict.reason} The quarantine is full, so it was not kept."
    one.taken.end(_ENDS[one.verdict.standing], reason, one.verdict.failure_reason)
