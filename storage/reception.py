"""Reception of one instance: its bytes are taken in, measured, scanned and indexed; nothing is kept yet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from storage.content import Content, Source, Unreadable, receive
from storage.elements import ScanLimits
from storage.errors import ArchiveAway, ReadOnly, StorageError, StoreFull
from storage.index import index
from storage.judgement import Candidate, KnownInstance
from storage.outcome import (
    CANNOT_UNDERSTAND,
    IDENTITY_DISAGREES,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    Outcome,
    Status,
)
from storage.scan import scan
from storage.spool import Spool, Staged
from storage.unusable import UnusableInstance

FindTwin = Callable[[bytes, int], KnownInstance | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Something that may be an instance, and how its sender calls it."""

    name: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Who sends, and on what terms: the request, the job that receives, the person or program behind it.

    `default_issuer` assigned the PatientIDs that name no issuer. With `study_instance_uid`, only instances of that
    study are taken (PS3.18 10.5.1). A `reviewed` delivery was looked at by an operator: it may have any preamble.
    """

    request: str
    job: str
    actor: str
    default_issuer: str
    study_instance_uid: str | None = None
    reviewed: bool = False


@dataclass(slots=True, kw_only=True)
class Taken:
    """One instance on its way: its bytes, what is known of it, and, as soon as it is certain, what became of it.

    `twin` is an instance with the same bytes that is here already; `alarm` says why it must not be served.
    """

    name: str
    staged: Staged | None = None
    candidate: Candidate | None = None
    twin: KnownInstance | None = None
    alarm: str = ""
    outcome: Outcome | None = None

    def end(self, status: Status, reason: str = "", failure_reason: int | None = None) -> None:
        """It is certain now what became of it."""
        one = self.candidate.indexed if self.candidate else self.twin
        self.outcome = Outcome(
            name=self.name,
            status=status,
            reason=reason,
            failure_reason=failure_reason,
            study_instance_uid=one.study_instance_uid if one else "",
            series_instance_uid=one.series_instance_uid if one else "",
            sop_class_uid=one.sop_class_uid if one else "",
            sop_instance_uid=one.sop_instance_uid if one else "",
        )

    def fail(self, error: StorageError) -> None:
        """The store could not keep it now; it may be sent again."""
        full = isinstance(error, StoreFull)
        self.end(Status.FAILED, str(error), OUT_OF_RESOURCES if full else PROCESSING_FAILURE)

    def let_go(self) -> None:
        """Give the temporary name of its bytes back."""
        if self.staged is not None:
            self.staged.remove()


class Reception:
    """Takes in one instance at a time, on any thread.

    Parameters
    ----------
    spool : where bytes wait
    limits : what an instance may ask of the scanner
    find_twin : gives the instance that has exactly the bytes of a digest and size
    """

    def __init__(self, spool: Spool, limits: ScanLimits, find_twin: FindTwin) -> None:
        self._spool = spool
        self._limits = limits
        self._find_twin = find_twin

    def take(self, received: Received, delivery: Delivery) -> Taken:
        """Take it in; an outcome tells that, and why, it cannot be kept."""
        staged = received.source if isinstance(received.source, Staged) else None
        taken = Taken(name=received.name, staged=staged)
        try:
            self._take(taken, received.source, delivery)
        except UnusableInstance as unusable:
            taken.end(Status.REJECTED, str(unusable), unusable.failure_reason)
        except Unreadable as error:
            taken.end(Status.REJECTED, str(error), PROCESSING_FAILURE)
        except (StoreFull, ReadOnly, ArchiveAway) as error:
            taken.fail(error)
        except (OSError, SQLAlchemyError):  # the disk or the catalog, not the instance
            taken.fail(ArchiveAway())
        except Exception as error:  # noqa: BLE001 - one instance must not stop those that come with it
            _give_up(taken, error)
        return taken

    def _take(self, taken: Taken, source: Source, delivery: Delivery) -> None:
        content = receive(source, self._spool)
        taken.staged = content.staged
        twin = self._find_twin(content.checksums.digest, content.checksums.size_bytes)
        if twin is not None and twin.promised:
            taken.twin = twin
        else:
            self._examine(taken, content, delivery)
        one = taken.candidate.indexed if taken.candidate else taken.twin
        if one is not None and delivery.study_instance_uid not in {None, one.study_instance_uid}:
            taken.end(Status.REJECTED, "The instance belongs to another study than the request.", IDENTITY_DISAGREES)
        elif taken.twin is None:
            taken.staged = content.stage(self._spool)

    def _examine(self, taken: Taken, content: Content, delivery: Delivery) -> None:
        """Scan and index it: the only place where its attributes are read."""
        with content.opened() as source:
            scanned = scan(source, limits=self._limits)
            indexed = index(scanned, source, delivery.default_issuer)
        taken.candidate = Candidate(
            indexed=indexed,
            size_bytes=content.checksums.size_bytes,
            digest=content.checksums.digest,
            data_set_digest=content.digest_from(scanned.data_set_offset),
            chunk_crcs=content.checksums.chunk_crcs,
        )
        if scanned.preamble_alert and not delivery.reviewed:
            taken.alarm = f"The preamble makes the file run: {scanned.preamble_alert}."


def _give_up(taken: Taken, error: Exception) -> None:
    """An instance for which the gateway has no answer. The error's text may hold patient data: its kind is told."""
    kind = type(error).__name__
    logging.getLogger(__name__).error("an instance could not be taken in: %s", kind)
    taken.end(Status.REJECTED, f"The gateway failed on this instance ({kind}); please report it.", CANNOT_UNDERSTAND)
