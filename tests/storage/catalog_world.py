"""A store with made-up studies, facilities and consents, and searches of it as one facility."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from sqlalchemy import Connection, Engine, event, insert, update

from consent.decide import decide
from consent.model import FOREVER, Action, Purpose, Requester, Sensitivity
from consent.tables import consent_grant, facility
from storage import catalog, patients
from storage.model import Found, Level, Located, Match, Query, Target, Visible
from storage.tables import series, study
from tests.storage.made_up import instance
from tests.storage.opened_store import NOON, Store

ROOT = "2.25.70"
CLINIC, OTHER = "clinic", "other-clinic"
EVERYTHING = int(sum(Sensitivity))


def uid(*parts: int) -> str:
    return ".".join([ROOT, *map(str, parts)])


def tag(keyword: str) -> str:
    found = tag_for_keyword(keyword)
    assert found is not None, keyword
    return f"{found:08X}"


def path(key: str) -> tuple[str, ...]:
    return tuple(tag(keyword) for keyword in key.split("."))


@dataclass
class World:
    """`add` a series, `grant` and `deny` patients, then `search` and `locate` as the clinic."""

    store: Store
    facilities: list[str] = field(default_factory=list)

    def add(self, study_number: int, series_number: int = 1, instances: int = 1, **attributes: Any) -> str:
        """Store one series of a study; gives the study's UID."""
        own = {
            "StudyInstanceUID": uid(study_number),
            "SeriesInstanceUID": uid(study_number, series_number),
            "SeriesNumber": series_number,
            "PatientID": f"CITIZEN-{study_number}",
            **attributes,
        }
        files = [instance(number, **own) for number in range(1, instances + 1)]
        outcomes = self.store.store(*files)
        assert {outcome.status.name for outcome in outcomes} == {"STORED"}, outcomes
        return own["StudyInstanceUID"]

    def grant(self, patient_id: str, *, issuer: str = "LOCAL", facility: str = CLINIC, **narrowed: Any) -> None:
        self._write_grant("permit", patient_id, issuer, facility, {"sensitivity": EVERYTHING, **narrowed})

    def deny(self, patient_id: str, *, issuer: str = "LOCAL", facility: str = CLINIC, **narrowed: Any) -> None:
        self._write_grant("deny", patient_id, issuer, facility, narrowed)

    def _write_grant(self, effect: str, patient_id: str, issuer: str, to: str, narrowed: dict[str, Any]) -> None:
        def write(tx: Connection) -> None:
            row = {
                "consent_id": f"{effect}-{patient_id}",
                "version": 1,
                "patient": patients.find_or_add(tx, patient_id, issuer),
                "effect": effect,
                "facility": to,
                "purpose": "*",
                "actions": int(Action.SEARCH | Action.RETRIEVE),
                "valid_from": 0,
                "valid_until": FOREVER,
            }
            tx.execute(insert(consent_grant), row | narrowed)

        self.admit(to)
        self.store.database.write(write)

    def admit(self, client_id: str) -> None:
        """Register a facility."""
        if client_id in self.facilities:
            return
        self.facilities.append(client_id)
        row = {"name": client_id, "affiliated": False, "state": "active", "purposes": "TREAT", "scopes": ""}
        row |= {"client_id": client_id, "registered_at": 0, "changed_at": 0}
        self.store.database.write(lambda tx: tx.execute(insert(facility), row) and None)

    def set_series(self, series_instance_uid: str, **columns: Any) -> None:
        statement = update(series).where(series.c.series_instance_uid == series_instance_uid).values(columns)
        self.store.database.write(lambda tx: tx.execute(statement) and None)

    def set_study(self, study_instance_uid: str, **columns: Any) -> None:
        statement = update(study).where(study.c.study_instance_uid == study_instance_uid).values(columns)
        self.store.database.write(lambda tx: tx.execute(statement) and None)

    def visible(self, facility: str = CLINIC, action: Action = Action.SEARCH) -> Visible:
        self.admit(facility)
        requester = Requester(
            facility=facility,
            facility_name=facility,
            affiliated=False,
            purpose=Purpose.TREAT,
            proven="test",
            credential="test",
            expires_at=FOREVER,
        )
        return decide(requester, action, NOON, unlabelled_is_ordinary=True).visible

    def find(self, query: Query, facility: str = CLINIC) -> Found:
        return self.store.database.read(catalog.search, query, self.visible(facility))

    def search(self, level: Level = Level.STUDY, *, facility: str = CLINIC, **asked: Any) -> list[Dataset]:
        """The rows of a search: keys by keyword (`__` between the steps of a path), other fields by their names."""
        return [read_object(row) for row in self.find(query_of(level, **asked), facility).objects]

    def numbers(self, level: Level = Level.STUDY, **asked: Any) -> list[str]:
        """Which resources a search finds, each as its UID below the root."""
        return [uids[-1].removeprefix(ROOT + ".") for uids in self.find(query_of(level, **asked)).uids]

    def locate(self, *uids: str, facility: str = CLINIC, with_frames: bool = False) -> Located:
        visible = self.visible(facility, Action.RETRIEVE)
        return self.store.database.read(catalog.locate_instances, target_of(*uids), visible, with_frames=with_frames)

    def locate_series(self, *uids: str, facility: str = CLINIC) -> Located:
        visible = self.visible(facility, Action.RETRIEVE)
        return self.store.database.read(catalog.locate_series, target_of(*uids), visible)


FIELDS = ("study_instance_uid", "series_instance_uid", "include", "include_all", "limit", "offset", "after")


def query_of(level: Level, **asked: Any) -> Query:
    keys = {key.replace("__", "."): asked[key] for key in asked if key not in FIELDS}
    matches = tuple(Match(path=path(key), text=text) for key, text in keys.items())
    return Query(level=level, match=matches, **{key: asked[key] for key in asked if key in FIELDS})


def target_of(*uids: str) -> Target:
    return Target(**dict(zip(("study_instance_uid", "series_instance_uid", "sop_instance_uid"), uids, strict=False)))


def read_object(row: bytes) -> Dataset:
    """A row as its reader sees it; the tags must ascend (PS3.18 Annex F)."""
    loaded = json.loads(row)
    assert list(loaded) == sorted(loaded)
    return Dataset.from_json(loaded)


@contextmanager
def statements_of(world: World) -> Iterator[list[str]]:
    """The texts of the statements that run inside the block, without the beginnings of transactions."""
    ran: list[str] = []
    engine: Engine = world.store.database._read_engine

    def note(_connection, _cursor, statement, _parameters, _context, _many) -> None:
        if statement != "BEGIN":
            ran.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield ran
    finally:
        event.remove(engine, "before_cursor_execute", note)
