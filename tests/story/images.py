"""Images for the story: pydicom's own samples, and studies made from a real header."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
ROOT = "1.2.826.0.1.3680043.8.498"
PETER, ARCHIBALD = "98890234", "77654033"
PETER_STUDY = "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"  # 7 CT images in two series
ARCHIBALD_STUDY = "1.3.6.1.4.1.5962.1.1.0.0.0.1196530851.28319.0.1"  # 4 CT images in one series
STUDY_TAG = "StudyInstanceUID"
MIB = 1 << 20


def sample_files(study: str) -> list[Path]:
    """The files of one of pydicom's sample studies."""
    files = [path for path in sorted(SAMPLES.rglob("*")) if path.is_file() and is_dicom(path)]
    return [path for path in files if pydicom.dcmread(path, specific_tags=[STUDY_TAG]).get(STUDY_TAG) == study]


def large_study(
    patient: str, number: int, *, instances: int = 64, instance_bytes: int = 4 * MIB, implicit: bool = False
) -> Iterator[bytes]:
    """A study of one series from a real CT header: every image of its own noise, `instance_bytes` of pixels each."""
    data_set = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    data_set.PatientID, data_set.PatientName = patient, f"{patient}^Large"
    data_set.StudyInstanceUID = study_uid(number)
    data_set.SeriesInstanceUID = f"{study_uid(number)}.1"
    data_set.Columns, data_set.Rows = 2048, instance_bytes // 4096
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    noise = random.Random(number)
    for index in range(1, instances + 1):
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"{study_uid(number)}.1.{index}"
        data_set.InstanceNumber = index
        data_set.PixelData = noise.randbytes(instance_bytes)
        yield as_file(data_set)


def study_uid(number: int) -> str:
    """The Study Instance UID of a made-up study."""
    return f"{ROOT}.77.{number}"


def as_file(data_set: pydicom.Dataset) -> bytes:
    out = io.BytesIO()
    data_set.save_as(out, enforce_file_format=True)
    return out.getvalue()
