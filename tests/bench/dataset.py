"""The studies of a run, made from the header of pydicom's own CT (256 elements, many private): the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from .profile import KIB, MIB, Profile

VERSION = 1
SLICE_EDGE = (512, 512)  # 16 bit: 512 KiB
SMALL_EDGE = (64, 64)  # 8 KiB
SLOW_EDGE = (2048, 1024)  # 4 MiB
assert SLICE_EDGE[0] * SLICE_EDGE[1] * 2 == 512 * KIB
assert SLOW_EDGE[0] * SLOW_EDGE[1] * 2 == 4 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One Part-10 file: its UIDs, and what must come back."""

    path: str
    study: str
    series: str
    sop: str
    size: int
    digest: str  # SHA-256 of the file
    pixel_digest: str  # SHA-256 of the value of Pixel Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one instance is to say, before it is written."""

    path: str
    patient: str
    study: str
    series: str
    number: int
    edge: tuple[int, int]

    @property
    def sop(self) -> str:
        """SOP Instance UID, the same in every run."""
        return uid("instance", self.series, self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All files of a run under `root`, by the work that they are for."""

    root: Path
    large: list[Instance]
    small: list[Instance]
    slow: list[Instance]
    store: list[list[Instance]]  # the first is the warm-up
    searched: list[str]
    patients: dict[str, str]  # Study Instance UID -> Patient ID

    def paths(self, instances: list[Instance]) -> list[Path]:
        """Where the files are."""
        return [self.root / instance.path for instance in instances]

    def folder(self, instances: list[Instance]) -> Path:
        """The folder that holds these files and no others of the run."""
        return self.root / Path(instances[0].path).parts[0]


def uid(*parts: object) -> str:
    """A UUID-derived UID (PS3.5 B.2) that depends on nothing but its name."""
    name = "/".join(map(str, parts))
    return f"2.25.{int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], 'big')}"


def patient_id(number: int) -> str:
    return f"BENCH-{number:05d}"


LARGE, SLOW, STORED = patient_id(99001), patient_id(99002), patient_id(99003)


def large_plans(profile: Profile) -> Iterator[Plan]:
    study = uid("study", "large", profile.slices)
    for series in (1, 2):
        name = uid("series", study, series)
        for number in range(1, profile.slices + 1):
            path = f"large/{series}/{number:04d}.dcm"
            yield Plan(path=path, patient=LARGE, study=study, series=name, number=number, edge=SLICE_EDGE)


def small_plans(profile: Profile) -> Iterator[Plan]:
    for patient in range(1, profile.patients + 1):
        for number in range(1, profile.studies + 1):
            study = uid("study", "small", patient, number)
            series = uid("series", study)
            for instance in range(1, profile.instances + 1):
                path = f"small/{patient:05d}/{number}-{instance}.dcm"
                yield Plan(
                    path=path,
                    patient=patient_id(patient),
                    study=study,
                    series=series,
                    number=instance,
                    edge=SMALL_EDGE,
                )


def slow_plans(profile: Profile) -> Iterator[Plan]:
    study = uid("study", "slow", profile.slow_instances)
    series = uid("series", study)
    for number in range(1, profile.slow_instances + 1):
        path = f"slow/{number:04d}.dcm"
        yield Plan(path=path, patient=SLOW, study=study, series=series, number=number, edge=SLOW_EDGE)


def store_plans(profile: Profile, batch: int) -> Iterator[Plan]:
    study = uid("study", "store", batch)
    series = uid("series", study)
    for number in range(1, profile.store_files + 1):
        path = f"store-{batch}/{number:04d}.dcm"
        yield Plan(path=path, patient=STORED, study=study, series=series, number=number, edge=SLICE_EDGE)


def template() -> Dataset:
    """The header to start from, without its own patient, and with nothing left of its own pixels."""
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240229"
    ds.PatientBirthDate = "19700101"
    ds.ReferringPhysicianName = "Bench^Referrer"
    ds.pop("OtherPatientIDs", None)
    return ds


def fill(ds: Dataset, plan: Plan) -> bytes:
    """Turn the template into the planned instance; returns its pixels, which no other instance has."""
    rows, columns = plan.edge
    pixels = hashlib.shake_128(plan.sop.encode()).digest(rows * columns * 2)
    ds.PatientID, ds.PatientName = plan.patient, f"Bench^{plan.patient}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = plan.study, plan.series, plan.sop
    ds.StudyID, ds.AccessionNumber = plan.study[-8:], plan.study[-12:]
    ds.FrameOfReferenceUID = UID(uid("frame", plan.study))
    ds.InstanceNumber = plan.number
    position = f"{plan.number * 1.25:.2f}"
    ds.SliceLocation = position
    ds.ImagePositionPatient = ["-158.135803", "-179.035797", position]
    ds.Rows, ds.Columns, ds.PixelData = rows, columns, pixels
    ds.file_meta.MediaStorageSOPInstanceUID = UID(plan.sop)
    return pixels


def write(root: Path, plans: Iterator[Plan]) -> list[Instance]:
    """Write the planned files below `root`."""
    ds, made = template(), []
    for plan in plans:
        path = root / plan.path
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = fill(ds, plan)
        ds.save_as(path, enforce_file_format=True)
        data = path.read_bytes()
        made.append(
            Instance(
                path=plan.path,
                study=plan.study,
                series=plan.series,
                sop=plan.sop,
                size=len(data),
                digest=hashlib.sha256(data).hexdigest(),
                pixel_digest=hashlib.sha256(pixels).hexdigest(),
            )
        )
    return made


def make(root: Path, profile: Profile) -> dict[str, Any]:
    """Write all files of a profile; returns the manifest."""
    batches = [write(root, store_plans(profile, batch)) for batch in range(profile.rounds + 1)]
    patients = {plan.study: plan.patient for plans in (large_plans, small_plans, slow_plans) for plan in plans(profile)}
    step = max(1, profile.patients // profile.searched)
    searched = [patient_id(1 + step * at) for at in range(profile.searched)]
    groups = {
        "large": write(root, large_plans(profile)),
        "small": write(root, small_plans(profile)),
        "slow": write(root, slow_plans(profile)),
    }
    return {
        "version": VERSION,
        "profile": asdict(profile),
        "searched": searched,
        "patients": patients,
        "store": [[asdict(one) for one in batch] for batch in batches],
        **{name: [asdict(one) for one in group] for name, group in groups.items()},
    }


def read(root: Path, profile: Profile) -> Bench | None:
    """The files of an earlier run, if they are this profile's and whole."""
    manifest = root / "manifest.json"
    if not manifest.exists():
        return None
    held = json.loads(manifest.read_text())
    if held["version"] != VERSION or held["profile"] != asdict(profile):
        return None
    groups = {name: [Instance(**one) for one in held[name]] for name in ("large", "small", "slow")}
    store = [[Instance(**one) for one in batch] for batch in held["store"]]
    everything = [one for group in (*groups.values(), *store) for one in group]
    if any(not (root / one.path).exists() or (root / one.path).stat().st_size != one.size for one in everything):
        return None
    return Bench(root=root, store=store, searched=held["searched"], patients=held["patients"], **groups)


def prepare(work: Path, profile: Profile) -> Bench:
    """The files of a profile below `work`, made once and used again."""
    root = work / f"data-{profile.name}"
    found = read(root, profile)
    if found is None:
        root.mkdir(parents=True, exist_ok=True)
        (root / "manifest.json").unlink(missing_ok=True)
        (root / "manifest.json").write_text(json.dumps(make(root, profile)))
        found = read(root, profile)
    assert found is not None, "what was just made can be read back"
    return found
