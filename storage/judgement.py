"""How a received instance stands to what the catalog knows: new, the same again, or in contradiction (laws 3 and 10).

The same judgement is made twice: before the bytes are written, to know where they belong, and inside the transaction
that admits them, which is the one that counts. When the two differ, another process came first, and all is done again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from storage.index import Column, Indexed
from storage.outcome import DUPLICATE_SOP_INSTANCE, IDENTITY_DISAGREES, PROCESSING_FAILURE

ONLINE: Final = "online"
GONE: Final = frozenset({"purging", "purged", "lost"})
"""States of a study whose bytes are no longer promised: an arrival is no duplicate of what is being deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A received instance, indexed and measured: what it says, and what its bytes are."""

    indexed: Indexed
    size_bytes: int
    digest: bytes
    data_set_digest: bytes
    chunk_crcs: bytes


class Standing(enum.Enum):
    """How a candidate stands to the catalog."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REPAIR = "repair"  # known, but its bytes were lost or damaged
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A standing, and for a conflict the reason and its code in PS3.18 I.2.2."""

    standing: Standing
    reason: str = ""
    failure_reason: int | None = None


def _conflict(reason: str, failure_reason: int) -> Verdict:
    return Verdict(standing=Standing.CONFLICT, reason=reason, failure_reason=failure_reason)


NEW: Final = Verdict(standing=Standing.NEW)
DUPLICATE: Final = Verdict(standing=Standing.DUPLICATE)
REPAIR: Final = Verdict(standing=Standing.REPAIR)
ANOTHER_DATA_SET: Final = _conflict(
    "Another data set is already stored under this SOP Instance UID.", DUPLICATE_SOP_INSTANCE
)
ANOTHER_PLACE: Final = _conflict(
    "This SOP Instance UID is already stored in another series or study.", DUPLICATE_SOP_INSTANCE
)
ANOTHER_STUDY: Final = _conflict("This Series Instance UID already belongs to another study.", IDENTITY_DISAGREES)
ANOTHER_MODALITY: Final = _conflict("The modality is not that of the series it belongs to.", IDENTITY_DISAGREES)
ANOTHER_PATIENT: Final = _conflict("Patient, issuer or study date are not those of the study.", IDENTITY_DISAGREES)
NOT_SERVABLE: Final = _conflict("The study was withdrawn or deleted here; an operator must decide.", PROCESSING_FAILURE)
DAMAGED: Final = _conflict("The stored copy is damaged, and these are not its bytes.", PROCESSING_FAILURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStudy:
    """A study of the catalog, or one that this batch begins (`key` is None)."""

    key: int | None
    patient_id: Column
    issuer: Column
    study_date: Column
    state: str
    fragment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSeries:
    """A series of the catalog, or one that this batch begins."""

    key: int | None
    study_instance_uid: str
    modality: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownInstance:
    """An instance of the catalog, or one that this batch adds; `held` tells whether its bytes are where they should."""

    key: int | None
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: Column
    digest: bytes
    data_set_digest: bytes
    study_state: str
    held: bool

    @property
    def promised(self) -> bool:
        """Whether its bytes are here and will stay: only then may the same instance be answered as stored."""
        return self.held and self.study_state not in GONE


@dataclass(slots=True, kw_only=True)
class Known:
    """What is known of the studies, series and instances of some candidates, by UID; it grows with each that is new."""

    studies: dict[str, KnownStudy]
    series: dict[str, KnownSeries]
    instances: dict[str, KnownInstance]

    def judge(self, candidate: Candidate) -> Verdict:
        """How this candidate stands, those judged before it included."""
        one = candidate.indexed
        twin = self.instances.get(one.sop_instance_uid)
        if twin is not None:
            return beside_twin(candidate, twin)
        verdict = self._beside_kin(one)
        if verdict is NEW:
            self._expect(candidate)
        return verdict

    def _beside_kin(self, one: Indexed) -> Verdict:
        """A new SOP Instance UID must agree with its series and its study."""
        kin, home = self.series.get(one.series_instance_uid), self.studies.get(one.study_instance_uid)
        if kin is not None and kin.study_instance_uid != one.study_instance_uid:
            return ANOTHER_STUDY
        if kin is not None and kin.modality != one.series["modality"]:
            return ANOTHER_MODALITY
        if home is None:
            return NEW
        if home.state != ONLINE:
            return NOT_SERVABLE
        stated = (one.study["patient_id"], one.study["issuer"], one.study["study_date"])
        return NEW if stated == (home.patient_id, home.issuer, home.study_date) else ANOTHER_PATIENT

    def _expect(self, candidate: Candidate) -> None:
        one = candidate.indexed
        if one.study_instance_uid not in self.studies:
            self.studies[one.study_instance_uid] = _begun_study(one)
        if one.series_instance_uid not in self.series:
            self.series[one.series_instance_uid] = KnownSeries(
                key=None, study_instance_uid=one.study_instance_uid, modality=one.series["modality"]
            )
        self.instances[one.sop_instance_uid] = _added_instance(candidate)


def beside_twin(candidate: Candidate, twin: KnownInstance) -> Verdict:
    """Beside an instance that already has this SOP Instance UID."""
    one = candidate.indexed
    if (one.study_instance_uid, one.series_instance_uid) != (twin.study_instance_uid, twin.series_instance_uid):
        return ANOTHER_PLACE
    same_bytes = candidate.digest == twin.digest
    same_data_set = (
        candidate.data_set_digest == twin.data_set_digest
        # the same bytes in another transfer syntax are another data set
        and one.instance["transfer_syntax_uid"] == twin.transfer_syntax_uid
    )
    if not same_bytes and not same_data_set:
        return ANOTHER_DATA_SET
    if twin.study_state in GONE:
        return NOT_SERVABLE
    if twin.held:
        return DUPLICATE
    return REPAIR if same_bytes else DAMAGED


def _begun_study(one: Indexed) -> KnownStudy:
    return KnownStudy(
        key=None,
        patient_id=one.study["patient_id"],
        issuer=one.study["issuer"],
        study_date=one.study["study_date"],
        state=ONLINE,
        fragment=one.study_fragment,
    )


def _added_instance(candidate: Candidate) -> KnownInstance:
    one = candidate.indexed
    return KnownInstance(
        key=None,
        study_instance_uid=one.study_instance_uid,
        series_instance_uid=one.series_instance_uid,
        sop_instance_uid=one.sop_instance_uid,
        sop_class_uid=one.sop_class_uid,
        transfer_syntax_uid=one.instance["transfer_syntax_uid"],
        digest=candidate.digest,
        data_set_digest=candidate.data_set_digest,
        study_state=ONLINE,
        held=True,
    )
