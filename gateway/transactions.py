"""Search and retrieve, told from top to bottom.

    requester   who asks                     gateway/auth
    decision    what they may see            consent/decide.py
    located     what of it is here           storage/catalog.py
    intent      written down, durably        storage/log
    pieces      read, checked, sent          storage/archive, gateway/dicomweb
    outcome     how much of it was sent      storage/log

Each step takes what only the step before can make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request

from consent.decide import decide, next_change
from consent.model import Action, Decision
from consent.parties import READ_SCOPE
from gateway import events
from gateway.auth.one_credential import OneCredential
from gateway.beat import until_beat
from gateway.call import Call
from gateway.coverage import Cover, Coverage, Progress
from gateway.epochs import Epochs
from gateway.errors import NotAllowed, NotAvailable, PartHidden
from gateway.remembered import Finding, Remembered
from gateway.streaming import Cut, StreamEnd
from storage import catalog, epoch
from storage.archive import Archive
from storage.database import Database
from storage.errors import NotDurable, ObjectCorrupt, ObjectMissing
from storage.log.audit_log import AuditLog
from storage.model import Found, InstanceRef, Instant, Located, Query, SeriesRef, Target

DECIDED_AGAIN: Final = 3  # times that a search is made whose record was overtaken by a change


class Exchange:
    """The transactions of the gateway; `gateway/app.py` hands it its parts."""

    def __init__(
        self,
        *,
        database: Database,
        log: AuditLog,
        archives: Mapping[str, Archive],
        authenticator: OneCredential,
        epochs: Epochs,
        coverage: Coverage,
        clock: Callable[[], Instant],
        beat_s: float,
        unlabelled_is_ordinary: bool,
    ) -> None:
        self.database = database
        self.log = log
        self.archives = archives
        self.authenticator = authenticator
        self.epochs = epochs
        self.coverage = coverage
        self.remembered = Remembered(clock)
        self.clock = clock
        self.beat_s = beat_s
        self.unlabelled_is_ordinary = unlabelled_is_ordinary

    async def authenticate(self, request: Request) -> Call:
        """Who asks: exactly one credential decides.

        Raises
        ------
        AuthError : the credential is missing, unknown, expired or revoked
        """
        requester = await self.authenticator.authenticate(request)
        return Call(requester=requester, request=request.state.request_id, began=request.state.began)

    async def search(self, call: Call, query: Query) -> Found:
        """The matching studies, series or instances that the requester may see (PS3.18 10.6).

        Raises
        ------
        BadQuery : the query asks for something that cannot be matched
        NotDurable : the record could not be written, or is overtaken by changes, so nothing is disclosed
        """
        fetch = self.database.fetch_short if catalog.is_short(query) else self.database.fetch
        for _ in range(DECIDED_AGAIN):
            seen = await self.epochs.confirmed()
            decision = self._decide(call, Action.SEARCH)
            found = await fetch(catalog.search, query, decision.visible)
            await self.log.record(events.search(call, decision, query, found))
            if not found.objects:
                await until_beat(call.began, self.beat_s)
                return found
            if await self.epochs.confirmed() == seen:
                return found
        raise NotDurable("What may be seen changes faster than it can be told; ask again.")

    async def retrieve(self, call: Call, target: Target, *, with_frames: bool = False) -> Retrieval:
        """The instances of a study, a series, or one instance, every one of them present (PS3.18 10.4).

        Raises
        ------
        NotAvailable : absent or forbidden, which are told alike
        PartHidden : a study of which the requester sees a part
        ObjectMissing, ObjectCorrupt : a visible instance cannot be sent, so nothing is
        """
        key = (call.requester.credential, target, with_frames)
        finding = self.remembered.find(key, await self.epochs.confirmed())
        if finding is None:
            decision = self._decide(call, Action.RETRIEVE)
            fetch = self.database.fetch if target.sop_instance_uid is None else self.database.fetch_short
            finding = await fetch(_find, target, decision, with_frames=with_frames)
            await self._refuse_unless_whole(call, decision, target, finding.located)
            if target.sop_instance_uid is not None:
                self.remembered.keep(key, finding)
        self._check_present(finding.located.instances)
        decision = replace(finding.decision, at=self.clock())
        return Retrieval(
            exchange=self, call=call, decision=decision, epoch=finding.epoch, target=target, located=finding.located
        )

    async def describe(self, call: Call, target: Target) -> Retrieval:
        """The series of a study, or one series, for their metadata (PS3.18 10.4.1.1.5); raises as `retrieve`."""
        seen = await self.epochs.confirmed()
        decision = self._decide(call, Action.RETRIEVE)
        located = await self.database.fetch_short(catalog.locate_series, target, decision.visible)
        await self._refuse_unless_whole(call, decision, target, located)
        return Retrieval(exchange=self, call=call, decision=decision, epoch=seen, target=target, located=located)

    def _decide(self, call: Call, action: Action) -> Decision:
        if READ_SCOPE not in call.requester.scopes:
            raise NotAllowed("The access token does not carry the scope that reading needs.")
        return decide(call.requester, action, self.clock(), unlabelled_is_ordinary=self.unlabelled_is_ordinary)

    async def _refuse_unless_whole(self, call: Call, decision: Decision, target: Target, located: Located) -> None:
        if located.part_hidden:
            await self.log.record(events.refused(call, decision, target, "part-hidden"))
            raise PartHidden
        if not located.instances and not located.series:
            await self.log.record(events.refused(call, decision, target, "not-available"))
            raise NotAvailable

    def _check_present(self, instances: Sequence[InstanceRef]) -> None:
        if any(ref.state == "corrupt" for ref in instances):
            raise ObjectCorrupt
        if any(ref.state == "missing" for ref in instances):
            raise ObjectMissing
        for archive_id, archive in self.archives.items():
            archive.check_present([ref for ref in instances if ref.archive_id == archive_id])


def _find(tx: Connection, target: Target, decision: Decision, *, with_frames: bool) -> Finding:
    # the epoch is read first: a change after it moves the epoch, and the finding is not used again
    seen = epoch.current(tx)
    located = catalog.locate_instances(tx, target, decision.visible, with_frames=with_frames)
    until = next_change(tx, decision, decision.at)
    return Finding(decision=decision, located=located, epoch=seen, until=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """A retrieve that was allowed: what may be sent, and the record that must be written around it.

    `epoch` is the one in which it was decided, or an earlier one.
    """

    exchange: Exchange
    call: Call
    decision: Decision
    epoch: int
    target: Target
    located: Located

    @property
    def series_keys(self) -> frozenset[int]:
        """The series that are being sent, by key: what a revocation is checked against."""
        return frozenset(
            [*(ref.series for ref in self.located.instances), *(ref.series for ref in self.located.series)]
        )

    def archive_of(self, ref: InstanceRef) -> Archive:
        """Where this instance's bytes are."""
        return self.exchange.archives[ref.archive_id]

    async def intend(self, what: str) -> Record:
        """Write down, durably, what is about to be sent (law 6).

        One series or less stands under the series' intent of this token; a study has an intent of its own.

        Raises
        ------
        NotDurable : nothing may be sent
        NotAvailable : what allowed it ended while it was written down
        """
        record = await self._recorded(what)
        try:
            allowed = await self.exchange.epochs.still_allows(self.decision, self.series_keys, since=self.epoch)
        except BaseException:
            await record.ended(StreamEnd(outcome="error", bytes_sent=0))
            raise
        if not allowed:
            await record.ended(StreamEnd(outcome="revoked", bytes_sent=0))
            raise NotAvailable
        return record

    async def _recorded(self, what: str) -> Record:
        held: list[InstanceRef | SeriesRef] = [*self.located.instances, *self.located.series]
        target, patient = self.target, self.located.patient
        if target.series_instance_uid is None:
            event = events.intent(self.call, self.decision, target, held, patient=patient, what=what)
            await self.exchange.log.record(event)
            return Record(retrieval=self, cover=None, progress=Progress())
        target = Target(study_instance_uid=target.study_instance_uid, series_instance_uid=target.series_instance_uid)
        event = events.intent(self.call, self.decision, target, held[:1], patient=patient, what=what)
        cover = await self.exchange.coverage.under(self.call, self.decision, held[0].series, event, patient)
        return Record(retrieval=self, cover=cover, progress=Progress())

    @contextmanager
    def watched(self, cut: Cut) -> Iterator[None]:
        """While the block runs, a revocation ends the stream through `cut` (law 8)."""
        with self.exchange.epochs.watching(self.decision, self.series_keys, cut):
            yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The open intent of one response; `ended` writes or counts what became of it."""

    retrieval: Retrieval
    cover: Cover | None
    progress: Progress

    async def ended(self, end: StreamEnd) -> None:
        """The response is over: say how much of it was sent.

        Raises
        ------
        NotDurable : the outcome could not be written; the intent stays open and is swept as unknown
        """
        retrieval = self.retrieval
        progress = self.progress
        if self.cover is not None:
            self.cover.ended(end.outcome, end.bytes_sent, progress)
            return
        sent = {"instances": progress.count, "frames": progress.frames, "bytes": end.bytes_sent}
        event = events.outcome(
            retrieval.call,
            retrieval.exchange.clock(),
            end.outcome,
            sent=sent,
            instances=progress.instances,
            patient=retrieval.located.patient,
        )
        await retrieval.exchange.log.record(event)
