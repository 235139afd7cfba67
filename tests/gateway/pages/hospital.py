"""A hospital with made-up patients, staff of every role and outside facilities; and a browser without scripts."""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pydicom
import requests
import uvloop
from argon2 import PasswordHasher
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from sqlalchemy import Connection, select, update
from starlette.types import ASGIApp

from consent import parties
from consent.model import Basis, Consent, Draft, Provenance, Purpose
from consent.parties import FacilityState
from consent.register import grant
from gateway.app import make_app
from gateway.auth import staff
from gateway.auth.passwords import Passwords
from gateway.auth.staff import Role
from gateway.desk import Desk
from gateway.parts import Parts, open_parts
from gateway.receiving import open_ingest
from gateway.serve import Limits, listen, serve
from gateway.settings import Settings
from storage import patients
from storage.log import reading
from storage.log.event import Kind
from storage.log.reading import OpenedEvent
from storage.model import Custody
from storage.outcome import Status
from storage.sealing import KeyRing
from storage.tables import log_event, study
from tests.conftest import free_port

PASSWORD = "a password of the desk"


def now() -> int:
    return time.time_ns() // 1000


def image(
    *,
    patient_id: str,
    name: str,
    birth_date: str,
    study: str,
    date: str,
    modality: str,
    description: str,
    number: int = 1,
) -> bytes:
    """One small made-up image as Part 10 bytes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    made = pydicom.Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.1"
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = patient_id, name, birth_date, "O"
    made.StudyDate, made.StudyTime, made.Modality, made.StudyDescription = date, "101500", modality, description
    made.AccessionNumber, made.StudyID, made.ReferringPhysicianName = "A1", "1", ""
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.Rows = made.Columns = 2
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.PixelData = 7, 0, b"\1\2\3\4"
    made.file_meta = meta
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


class Hospital:
    """The whole gateway over a directory of its own, with what a test needs to look behind the pages."""

    def __init__(self, directory: Path, *, prefix: str = "", port: int = 0, database: str | None = None) -> None:
        self.port = port or free_port()
        self.base = f"http://127.0.0.1:{self.port}{prefix}"
        settings = Settings(
            data=directory / "data", database=database, public_url=self.base, facility_name="Riverside Hospital"
        )
        self.parts: Parts = open_parts(settings, now)
        self.database, self.log, self.keys = self.parts.database, self.parts.log, self.parts.keys
        self.desk = Desk(database=self.database, log=self.log, clock=now)
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.studies = 0

    def app(self) -> ASGIApp:
        return make_app(self.parts)

    # what a test sets up

    def employ(self, role: Role, email: str | None = None) -> str:
        address = email or f"{role.value}@riverside.example"
        hashed = self.passwords.hash(PASSWORD)
        self.database.write(staff.add, self.log, self.provenance(), email=address, role=role, password_hash=hashed)
        return address

    def register(self, name: str, *, affiliated: bool = False, state: FacilityState = FacilityState.ACTIVE) -> str:
        facility = self.database.write(
            parties.add,
            self.log,
            self.provenance(),
            name=name,
            jwks_uri=f"https://{secrets.token_hex(4)}.example/jwks.json",
            purposes=(Purpose.TREAT,),
            affiliated=affiliated,
            state=state,
        )
        return facility.client_id

    def receive(
        self, *, patient_id: str = "P-1", name: str = "CITIZEN^JANE", birth_date: str = "19700203", **said: Any
    ) -> str:
        """Store one image of a study of its own; gives the Study Instance UID."""
        self.studies += 1
        uid = said.pop("study", f"1.2.826.0.1.3680043.10.999.{self.studies}")
        issuer = said.pop("issuer", None)
        facts = {"date": "20240102", "modality": "CT", "description": "Head", **said}
        content = image(patient_id=patient_id, name=name, birth_date=birth_date, study=uid, **facts)
        ingest = open_ingest(self.parts, Custody(job="test", actor="test"))
        outcome = ingest.store(content, ingest.delivery("r-" + secrets.token_hex(4), issuer))
        ingest.close()
        assert outcome.status is Status.STORED, outcome
        return str(uid)

    def bare_patient(self, patient_id: str) -> int:
        """Somebody who is known, of whom nothing is held."""
        return self.database.write(patients.find_or_add, patient_id, "LOCAL")

    def record(self, how: Callable[..., Consent] = grant, **said: Any) -> Consent:
        """A consent of the first patient, recorded elsewhere than on the pages."""
        provenance = Provenance(by="somebody", at=said.pop("at", now()), request="test-" + secrets.token_hex(4))
        terms = {"patient_id": "P-1", "issuer": "LOCAL", "basis": Basis.POLICY, "purposes": (Purpose.TREAT,), **said}
        return self.database.write(how, self.log, Draft(**terms), provenance)

    def set_study_state(self, state: str) -> None:
        self.database.write(lambda tx: tx.execute(update(study).values(state=state)))

    def provenance(self, by: str = "the test") -> Provenance:
        return Provenance(by=by, at=now(), request="test-" + secrets.token_hex(4))

    # what a test looks at

    def events(self, *kinds: Kind) -> list[OpenedEvent]:
        """The recorded events of these kinds, opened, in their order."""
        found = self.database.read(_all_events, self.keys)
        return [event for event in found if event.kind in kinds]

    def close(self) -> None:
        self.passwords.close()
        self.parts.close()


def _all_events(tx: Connection, keys: KeyRing) -> list[OpenedEvent]:
    places = tx.execute(select(log_event.c.node, log_event.c.seq).order_by(log_event.c.seq)).all()
    return [reading.read(tx, keys, reading.EventId(node=row.node, seq=row.seq)) for row in places]


@contextmanager
def served(app: ASGIApp, port: int) -> Iterator[None]:
    """The app behind the gateway's own server until the block ends."""
    ready, stops = threading.Event(), []

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        await serve(app, listener, limits=Limits(finish_s=2), on_ready=ready.set, stop=stop)

    with listen("127.0.0.1", port) as listener:
        thread = threading.Thread(target=lambda: uvloop.run(main()), daemon=True)
        thread.start()
        assert ready.wait(20)
        yield
        stops[0]()
        thread.join(timeout=20)
        assert not thread.is_alive()


class Browser:
    """A browser without scripts: keeps cookies, follows redirects, sends the hidden fields of the form it was shown."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.session = requests.Session()
        self.session.headers["Sec-Fetch-Site"] = "same-origin"
        self.page: requests.Response = requests.Response()

    def get(self, path: str, **more: Any) -> requests.Response:
        self.page = self.session.get(self.base + path, timeout=20, **more)
        return self.page

    def post(self, path: str, fields: Any, **more: Any) -> requests.Response:
        self.page = self.session.post(self.base + path, data=fields, timeout=20, **more)
        return self.page

    def submit(self, path: str, fields: dict[str, Any], **more: Any) -> requests.Response:
        """Send the form with this action from the page that is shown, with its hidden fields."""
        return self.post(path, {**self.hidden(path), **fields}, **more)

    def hidden(self, path: str) -> dict[str, str]:
        """The hidden fields of the form with this action."""
        forms = re.findall(r"<form.*?</form>", self.page.text, re.DOTALL)
        form = next(part for part in forms if f'{path}"' in part)
        fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
        return {name: unescape(value) for name, value in fields}

    def revoke_path(self) -> str:
        """The action of the first form that revokes."""
        found = re.search(r'action="[^"]*(/patients/\d+/consents/[^"/]+/revoke)"', self.page.text)
        assert found is not None
        return found[1]

    def sign_in(self, email: str, password: str = PASSWORD) -> requests.Response:
        self.get("/sign-in")
        return self.submit("/sign-in", {"email": email, "password": password})

    def find(self, patient_id: str, issuer: str = "LOCAL") -> requests.Response:
        self.get("/")
        return self.submit("/patients", {"patient_id": patient_id, "issuer": issuer})

    @property
    def key(self) -> str:
        """The patient's key in the address of the page that is shown."""
        return re.split(r"[/?]", self.page.url.partition("/patients/")[2])[0]

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.base).partition("?")[0]

    @property
    def text(self) -> str:
        """What the page says, without its markup."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.page.text)).split())
