"""The demonstration: real sample studies, two outside facilities of which one has consent, and a staff account."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from sqlalchemy import Connection

from consent import parties, register
from consent.model import Basis, Draft, Purpose, Scope
from consent.parties import Facility, FacilityState
from gateway.auth import staff as accounts
from gateway.auth.passwords import Passwords
from gateway.auth.staff import Role
from gateway.commands.keys import make_key
from gateway.commands.session import Session
from storage.outcome import Status
from storage.reception import Received

SAMPLES: Final = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
CONSENTED: Final = "98890234"  # Doe^Peter of the sample studies
OTHER: Final = "77654033"  # Doe^Archibald, who consented to nothing
STUDY: Final = "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"
STAFF_EMAIL: Final = "desk@hospital.example"
NAMES: Final = ("Lakeside Clinic", "Hilltop Imaging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a newcomer needs to try it. `password` is None where the account was there already."""

    facilities: Sequence[Facility]
    keys: Sequence[Path]
    password: str | None
    images: int


def prepare(session: Session, port: int) -> Iterator[str]:
    """Set everything up, once, and say what to try."""
    password = secrets.token_urlsafe(12)
    images = _import_samples(session)
    directory = session.settings.key_directory / "demo"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = {facility.name: facility for facility in session.parts.database.read(parties.list_all)}
    facilities = [known.get(name) or _register(session, name, directory) for name in NAMES]
    session.parts.database.write(_consent_once, session, facilities[0])
    made = session.parts.database.write(_staff_once, session, Passwords().hash(password))
    prepared = Prepared(
        facilities=facilities,
        keys=[_key_path(directory, name) for name in NAMES],
        password=password if made else None,
        images=images,
    )
    yield from _what_to_try(session, prepared, port)


def _import_samples(session: Session) -> int:
    ingest = session.ingest("demo")
    try:
        received = [Received(name=path.name, source=path) for path in sorted(SAMPLES.rglob("*")) if path.is_file()]
        outcomes = list(ingest.store_many(received, ingest.delivery(session.request())))
    finally:
        ingest.close()
    return sum(outcome.status in {Status.STORED, Status.DUPLICATE} for outcome in outcomes)


def _register(session: Session, name: str, directory: Path) -> Facility:
    path = _key_path(directory, name)
    path.unlink(missing_ok=True)  # left over from a demonstration whose data are gone
    return session.parts.database.write(
        parties.add,
        session.parts.log,
        session.provenance(),
        name=name,
        jwks={"keys": [make_key(path)]},
        state=FacilityState.ACTIVE,
    )


def _key_path(directory: Path, name: str) -> Path:
    return directory / f"{name.split(maxsplit=1)[0].lower()}.jwk"


def _consent_once(tx: Connection, session: Session, facility: Facility) -> None:
    issuer = session.settings.default_issuer
    if register.list_for_patient(tx, CONSENTED, issuer):
        return
    draft = Draft(
        patient_id=CONSENTED,
        issuer=issuer,
        basis=Basis.POLICY,
        facilities=(facility.client_id,),
        scope=Scope(studies=(STUDY,)),
        purposes=(Purpose.TREAT,),
        signed_by="the patient",
    )
    register.grant(tx, session.parts.log, draft, session.provenance())


def _staff_once(tx: Connection, session: Session, password_hash: str) -> bool:
    if accounts.find(tx, STAFF_EMAIL) is not None:
        return False
    accounts.add(
        tx, session.parts.log, session.provenance(), email=STAFF_EMAIL, role=Role.ADMIN, password_hash=password_hash
    )
    return True


def _what_to_try(session: Session, prepared: Prepared, port: int) -> Iterator[str]:
    base = f"http://127.0.0.1:{port}"
    (first, second), (key, other_key) = prepared.facilities, prepared.keys
    data = session.settings.data
    password = (
        f"the password {prepared.password}  (shown this once)"
        if prepared.password is not None
        else f"its password; a new one: {COMMAND} --data {data} staff set-password {STAFF_EMAIL}"
    )
    yield TO_TRY.format(
        images=prepared.images,
        data=data,
        base=base,
        command=COMMAND,
        study=STUDY,
        patient=CONSENTED,
        by=f"--client-id {first.client_id} --key {key} --url {base}",
        by_other=f"--client-id {second.client_id} --key {other_key} --url {base}",
        names=NAMES,
        email=STAFF_EMAIL,
        password=password,
    )


COMMAND: Final = ".venv/bin/openpriors"
TO_TRY: Final = """\
OpenPriors demonstration: {images} images in {data}, serving on {base}

In a second terminal. {names[0]}, whom patient {patient} lets see one study:
  {command} search {by}
  {command} fetch {study} -o priors {by}

{names[1]}, whom nobody has consented to, finds nothing:
  {command} search {by_other}

The same with curl:
  TOKEN=$({command} token {by})
  curl -H "Authorization: Bearer $TOKEN" "{base}/dicom-web/studies?PatientID={patient}"
  curl -H "Authorization: Bearer $TOKEN" -H 'Accept: multipart/related; type="application/dicom"; transfer-syntax=*' \\
    {base}/dicom-web/studies/{study} -o study.multipart

With the Python dicomweb-client, to the first image on screen (open first.png):
  .venv/bin/python - "$TOKEN" <<'END'
  import sys
  from dicomweb_client.web import DICOMwebClient
  from PIL import Image
  study = "{study}"
  client = DICOMwebClient("{base}/dicom-web", headers={{"Authorization": "Bearer " + sys.argv[1]}})
  first = client.search_for_instances(study_instance_uid=study)[0]
  series, instance = (first[tag]["Value"][0] for tag in ("0020000E", "00080018"))
  pixels = client.retrieve_instance(study, series, instance).pixel_array
  grey = (pixels - pixels.min()) / max(1, int(pixels.max()) - int(pixels.min())) * 255
  Image.fromarray(grey.astype("uint8")).resize((512, 512)).save("first.png")
  END

In the browser: {base}/
  sign in as {email} with {password}
  find patient {patient}, revoke the consent, and search again: nothing is left

Ctrl-C stops the gateway."""
