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
from consent.model import Basis, Draft, Purpose
from consent.parties import Facility, FacilityState
from gateway.auth import staff as accounts
from gateway.auth.passwords import Passwords
from gateway.auth.staff import Role
from gateway.commands.keys import make_key
from gateway.commands.session import Session
from storage.import_source import import_paths

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
    report = import_paths(session.ingest("demo"), [SAMPLES], default_issuer=None)
    return report.stored + report.duplicate


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
    base = session.settings.public_url if port == DEFAULT_PORT else f"http://127.0.0.1:{port}"
    consented, other = prepared.facilities
    command = Path(".venv/bin/openpriors")
    by = f"--client-id {consented.client_id} --key {prepared.keys[0]} --url {base}"
    yield f"OpenPriors demonstration: {prepared.images} images in {session.settings.data}, serving on {base}"
    yield ""
    yield "In a second terminal, as the facility that patient 98890234 has consented to:"
    yield f"  {command} search {by}"
    yield f"  {command} fetch {STUDY} -o priors {by}"
    yield ""
    yield "The same with curl:"
    yield f"  TOKEN=$({command} token {by})"
    yield f"  curl -H \"Authorization: Bearer $TOKEN\" '{base}/dicom-web/studies?PatientID={CONSENTED}'"
    yield f"  curl -H \"Authorization: Bearer $TOKEN\" -H 'Accept: multipart/related; type=\"application/dicom\"; transfer-syntax=*' '{base}/dicom-web/studies/{STUDY}' -o study.multipart"
    yield ""
    yield "With the Python dicomweb-client, to the first image on screen:"
    yield "  .venv/bin/python - \"$TOKEN\" <<'EOF'"
    yield from (f"  {line}" for line in PYTHON.format(base=base, study=STUDY).splitlines())
    yield "  EOF"
    yield ""
    yield "As the facility without consent, the same search finds nothing:"
    yield f"  {command} search --client-id {other.client_id} --key {prepared.keys[1]} --url {base}"
    yield ""
    yield f"In the browser: {base}/"
    if prepared.password is not None:
        yield f"  sign in as {STAFF_EMAIL} with the password {prepared.password}  (shown this once)"
    else:
        yield f"  sign in as {STAFF_EMAIL}; another password: {command} --data {session.settings.data} staff set-password {STAFF_EMAIL}"
    yield f"  find patient {CONSENTED}, revoke the consent, and search again: []"
    yield ""
    yield "Ctrl-C stops the gateway."


DEFAULT_PORT: Final = 8042
PYTHON: Final = """\
import sys
from dicomweb_client.web import DICOMwebClient
from PIL import Image
client = DICOMwebClient("{base}/dicom-web", headers={{"Authorization": "Bearer " + sys.argv[1]}})
first = client.search_for_instances(study_instance_uid="{study}")[0]
series, instance = (first[tag]["Value"][0] for tag in ("0020000E", "00080018"))
pixels = client.retrieve_instance("{study}", series, instance).pixel_array
scaled = (pixels - pixels.min()) / max(1, int(pixels.max()) - int(pixels.min())) * 255
Image.fromarray(scaled.astype("uint8")).resize((512, 512)).save("first.png")
print("first.png shows the image")
"""
