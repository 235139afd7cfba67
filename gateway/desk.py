"""The staff desk, told from top to bottom: find a patient, lay their file open, grant, revoke.

    requester   who works here               gateway/auth
    decision    what they may look at        consent/decide.py
    file        what is here, what counts    storage/catalog.py, consent/register.py
    view        written down, durably        storage/log
    page        shown                        gateway/pages

A look is recorded before it is shown (law 6); a change and its record share one transaction (law 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

import orjson
from sqlalchemy import Connection

from consent import parties, register
from consent.decide import decide_desk, decide_desk_search, is_at_desk
from consent.errors import ChangedMeanwhile, ImproperConsent, NotInThatState, UnknownConsent
from consent.model import FOREVER, STAFF, Basis, Consent, Decision, Draft, Provenance, Purpose, Scope, State
from gateway import desk_events
from gateway.call import Call
from gateway.desk_file import ISSUER_OF_PATIENT_ID, SHOWN, PatientFile, held_studies, identities, is_admissible
from gateway.errors import BadRequest, NotAllowed, NotAvailable
from storage import catalog, patients
from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.model import Instant, Level, Query
from storage.patients import KnownPatient

CHANGE_SCOPES: Final = frozenset({f"{STAFF}/consent", f"{STAFF}/admin"})
PURPOSE: Final = Purpose.TREAT  # what the desk's short form grants for
STUDIES_LISTED: Final = 500
USED_UP: Final = "This form was sent before, and its consent has been changed since; open the page again."
NOT_HERE: Final = "One of the studies is not among those held of this patient; open the page again."
NOT_ADMISSIBLE: Final = "One of the facilities is not an active outside facility any more; open the page again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a grant form says. No `studies` are all, also future ones."""

    facilities: tuple[str, ...] = ()
    any_facility: bool = False
    studies: tuple[str, ...] = ()
    effective_until: Instant = FOREVER
    signed_by: str = ""
    signer_role: str = "patient"
    authority: str = ""
    signed_at: Instant | None = None


class Desk:
    """The transactions of the people who work here; `gateway/app.py` hands it its parts."""

    def __init__(self, *, database: Database, log: AuditLog, clock: Callable[[], Instant]) -> None:
        self.database = database
        self.log = log
        self.clock = clock

    async def find(self, call: Call, patient_id: str, issuer: str) -> Sequence[KnownPatient]:
        """The patient with this identifier, if there is one.

        Raises
        ------
        NotAllowed : no role at the desk
        NotDurable : the record could not be written, so nothing is told
        """
        await self._admit(call, "find")
        found = await self.database.fetch(_named, patient_id, issuer)
        await self.log.record(desk_events.sought(call, self.clock(), [patient_id, issuer], found))
        return found

    async def find_by_name(self, call: Call, family: str, given: str, birth_date: str) -> Sequence[KnownPatient]:
        """The patients of whom a study bears this name and this birth date (DA text), both; raises as `find`."""
        await self._admit(call, "find")
        decision = decide_desk_search(call.requester, family, given, birth_date, self.clock())
        found = await self.database.fetch(_bearing, decision)
        await self.log.record(desk_events.sought(call, decision.at, [family, given, birth_date], found))
        return found

    async def open(self, call: Call, key: int) -> PatientFile:
        """The file of the patient of this key.

        Raises
        ------
        NotAllowed : no role at the desk
        NotAvailable : there is no such patient
        NotDurable : the look could not be recorded, so nothing is shown
        """
        await self._admit(call, "file")
        decision = decide_desk(call.requester, key, self.clock())
        file = await self.database.fetch(_file, key, decision)
        if file is None:
            await self.log.record(desk_events.refused(call, decision.at, "file", "not-available"))
            raise NotAvailable
        await self.log.record(desk_events.viewed(call, decision, file))
        return file

    async def grant(self, call: Call, key: int, wish: Wish, form: str) -> Consent:
        """Record an active consent of this patient. The same `form`, sent twice with the same words, records one.

        Raises
        ------
        NotAllowed : a role that does not change consents
        NotAvailable : there is no such patient
        ConsentError : what the form says cannot be recorded; its sentence says why
        """
        await self._admit_change(call, "grant")
        number = consent_number(call, key, wish, form)
        try:
            return await self.database.commit(self._grant, call, key, wish, number)
        except ChangedMeanwhile:  # another node recorded the same form in the same moment
            return _still_active(await self.database.fetch(register.get, number))

    async def revoke(self, call: Call, key: int, consent_id: str, *, version: int, reason: str) -> Consent:
        """End a consent of this patient at once; sent twice, it is done once. `version` is the one that was shown.

        Raises
        ------
        NotAllowed : a role that does not change consents
        UnknownConsent : this patient has none of this number
        ChangedMeanwhile, NotInThatState : it is not any more what was shown
        IncompleteConsent : no reason is given
        """
        await self._admit_change(call, "revoke")
        return await self.database.commit(self._revoke, call, key, consent_id, version=version, reason=reason)

    async def _admit(self, call: Call, what: str) -> None:
        if not is_at_desk(call.requester):
            await self._refuse(call, what)

    async def _admit_change(self, call: Call, what: str) -> None:
        if not is_at_desk(call.requester) or CHANGE_SCOPES.isdisjoint(call.requester.scopes):
            await self._refuse(call, what)

    async def _refuse(self, call: Call, what: str) -> None:
        await self.log.record(desk_events.refused(call, self.clock(), what, "role"))
        raise NotAllowed

    def _grant(self, tx: Connection, call: Call, key: int, wish: Wish, number: str) -> Consent:
        patient = patients.get(tx, key)
        if patient is None:
            raise NotAvailable
        at = self.clock()
        try:
            return _still_active(register.get(tx, number))
        except UnknownConsent:
            _check_facilities(tx, wish)
            _check_studies(tx, wish, decide_desk(call.requester, key, at))
        return register.grant(tx, self.log, _draft(patient, wish), self._provenance(call, at), number=lambda: number)

    def _revoke(self, tx: Connection, call: Call, key: int, consent_id: str, *, version: int, reason: str) -> Consent:
        head = register.get(tx, consent_id)
        if patients.find(tx, head.patient_id, head.issuer) != key:
            raise UnknownConsent
        if _is_this_revocation(head, call, version, reason):
            return head
        provenance = self._provenance(call, self.clock())
        return register.revoke(tx, self.log, consent_id, provenance, reason=reason, version=version)

    def _provenance(self, call: Call, at: Instant) -> Provenance:
        return Provenance(by=call.requester.person, at=at, request=call.request)


def consent_number(call: Call, key: int, wish: Wish, form: str) -> str:
    """The number of the consent that a form records: the same form with the same words has the same one.

    Raises
    ------
    BadRequest : the form has no number of its own, which nobody can have guessed
    """
    if len(form) != FORM_LENGTH or not form.isalnum():
        raise BadRequest("The form is not complete; open the page again.")
    said = orjson.dumps([form, key, call.requester.person, asdict(wish)], option=orjson.OPT_SORT_KEYS)
    return "con-" + sha256(said).hexdigest()[:16]


FORM_LENGTH: Final = 32  # characters: 16 random bytes in hexadecimal


def _named(tx: Connection, patient_id: str, issuer: str) -> Sequence[KnownPatient]:
    key = patients.find(tx, patient_id, issuer)
    found = None if key is None else patients.get(tx, key)
    return [] if found is None else [found]


def _bearing(tx: Connection, decision: Decision) -> Sequence[KnownPatient]:
    query = Query(level=Level.STUDY, include=(ISSUER_OF_PATIENT_ID,), limit=STUDIES_LISTED)
    named = identities(catalog.search(tx, query, decision.visible))
    return [patient for patient_id, issuer in named for patient in _named(tx, patient_id, issuer)]


def _file(tx: Connection, key: int, decision: Decision) -> PatientFile | None:
    patient = patients.get(tx, key)
    if patient is None:
        return None
    found = catalog.search(tx, Query(level=Level.STUDY, include=SHOWN, limit=STUDIES_LISTED), decision.visible)
    return PatientFile(
        at=decision.at,
        patient=patient,
        studies=held_studies(found),
        more=found.more,
        consents=register.list_for_patient(tx, patient.patient_id, patient.issuer),
        facilities=parties.list_all(tx),
    )


def _check_facilities(tx: Connection, wish: Wish) -> None:
    admissible = {facility.client_id for facility in parties.list_all(tx) if is_admissible(facility)}
    if not admissible.issuperset(wish.facilities):
        raise ImproperConsent(NOT_ADMISSIBLE)


def _check_studies(tx: Connection, wish: Wish, decision: Decision) -> None:
    """Refuse a study that the form cannot have shown."""
    if wish.studies:
        found = catalog.search(tx, Query(level=Level.STUDY, limit=STUDIES_LISTED), decision.visible)
        if not {uids[0] for uids in found.uids}.issuperset(wish.studies):
            raise ImproperConsent(NOT_HERE)


def _draft(patient: KnownPatient, wish: Wish) -> Draft:
    return Draft(
        patient_id=patient.patient_id,
        issuer=patient.issuer,
        basis=Basis.POLICY,
        facilities=wish.facilities,
        any_facility=wish.any_facility,
        scope=Scope(studies=wish.studies),
        purposes=(PURPOSE,),
        effective_until=wish.effective_until,
        signed_by=wish.signed_by,
        signer_role=wish.signer_role,
        authority=wish.authority,
        signed_at=wish.signed_at,
    )


def _still_active(recorded: Consent) -> Consent:
    """What the same form recorded before, unless it does not count any more."""
    if recorded.state is not State.ACTIVE:
        raise NotInThatState(USED_UP)
    return recorded


def _is_this_revocation(head: Consent, call: Call, version: int, reason: str) -> bool:
    return (
        head.state is State.REVOKED
        and head.version == version + 1
        and head.recorded_by == call.requester.person
        and head.reason == reason
    )
