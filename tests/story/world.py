"""What the stories share: images of several patients, stored once, and the ways to ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

from tests.storage.made_up import instance
from tests.story.hospital import Facility, Hospital, Server
from tests.story.images import ARCHIBALD_STUDY, PETER_STUDY, sample_files, study_uid
from tests.story.wire import Line

BASE = "/dicom-web"
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ONE_AS_STORED = "application/dicom; transfer-syntax=*"
FRAMES_AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"'
JSON = "application/dicom+json"

CANARY, CANARY_NAME = "CANARY-4711", "Zyxwvut^Quetzal"
MIXED = study_uid(1)  # of that patient: two CT images in a series, one MR image in another
FRAME_FILES = ("rtdose.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm", "CT_small.dcm")


@dataclass(frozen=True, kw_only=True)
class Named:
    """The UIDs that a path names."""

    study: str
    series: str
    instance: str

    @property
    def absent(self) -> Named:
        """UIDs of the same form and length that nothing has."""
        return Named(study=_other(self.study), series=_other(self.series), instance=_other(self.instance))

    @property
    def study_path(self) -> str:
        return f"{BASE}/studies/{self.study}"

    @property
    def series_path(self) -> str:
        return f"{self.study_path}/series/{self.series}"

    @property
    def path(self) -> str:
        return f"{self.series_path}/instances/{self.instance}"

    def retrieves(self) -> Iterator[tuple[str, str]]:
        """Every retrieve resource with what to accept."""
        for path in (self.study_path, self.series_path, self.path):
            yield path, AS_STORED
            yield path, 'multipart/related; type="application/dicom"'
            yield path + "/metadata", JSON
        yield self.path, ONE_AS_STORED
        yield self.path + "/frames/1", FRAMES_AS_STORED
        yield self.path + "/frames/1,1", FRAMES_AS_STORED
        yield self.path + "/frames/1", "application/octet-stream; transfer-syntax=*"
        yield self.path + "/frames/999", FRAMES_AS_STORED
        yield self.path + "/bulkdata/7FE00010", OCTETS
        yield self.path + "/bulkdata/00091002", OCTETS

    def searches(self) -> Iterator[tuple[str, str]]:
        """Every search resource that can name one of them."""
        yield f"{BASE}/studies?StudyInstanceUID={self.study}", JSON
        yield f"{BASE}/studies?0020000D={self.study}&includefield=all", JSON
        yield f"{BASE}/series?StudyInstanceUID={self.study}", JSON
        yield f"{BASE}/series?SeriesInstanceUID={self.series}", JSON
        yield f"{BASE}/instances?SOPInstanceUID={self.instance}", JSON
        yield f"{self.study_path}/series", JSON
        yield f"{self.study_path}/series?Modality=CT", JSON
        yield f"{self.study_path}/instances", JSON
        yield f"{self.series_path}/instances", JSON

    def aliases(self) -> Iterator[tuple[str, str]]:
        """Other ways to write a path, and resources that are not there (T10)."""
        yield self.study_path + "/", AS_STORED
        yield self.study_path.replace("/studies/", "//studies/"), AS_STORED
        yield self.study_path.replace("/studies/", "/studies/%2e%2e/studies/"), AS_STORED
        yield self.study_path.replace("/studies/", "/Studies/"), AS_STORED
        yield self.study_path + "/rendered", "image/jpeg"
        yield self.path + "/rendered", "image/jpeg"
        yield self.path + "/thumbnail", "image/jpeg"
        yield self.path + "/frames/1/rendered", "image/jpeg"
        yield f"/wado?requestType=WADO&studyUID={self.study}&seriesUID={self.series}&objectUID={self.instance}", "*/*"
        yield f"/fhir/ImagingStudy?identifier=urn:oid:{self.study}", "application/fhir+json"


@dataclass(frozen=True, kw_only=True)
class World:
    """A served installation with images and no consents; each story brings its own facility."""

    hospital: Hospital
    server: Server

    def facility(self, name: str = "Lakeside Clinic") -> tuple[Facility, Line]:
        """A new facility, and a connection with its token."""
        facility = self.hospital.facility(name)
        return facility, self.line(facility)

    def line(self, facility: Facility) -> Line:
        """A connection with a fresh token."""
        return Line(port=self.server.port, token=facility.token(self.server.url))


def build(hospital: Hospital) -> World:
    """Store the images and serve them."""
    hospital.hold([*sample_files(PETER_STUDY), *sample_files(ARCHIBALD_STUDY), *frame_files(), *mixed_images()])
    return World(hospital=hospital, server=hospital.serve())


def frame_files() -> list[Path]:
    """Single images of several transfer syntaxes, one patient each."""
    return [Path(str(get_testdata_file(name))) for name in FRAME_FILES]


def mixed_images(study: str = MIXED, patient: str = CANARY) -> list[bytes]:
    """A study of which a consent for CT shows a part; two CT images and one MR image."""
    said = {"StudyInstanceUID": study, "PatientID": patient, "PatientName": CANARY_NAME, "size": 4096}
    scans = [instance(n, SeriesInstanceUID=f"{study}.1", Modality="CT", SeriesNumber=1, **said) for n in (1, 2)]
    return [*scans, instance(1, SeriesInstanceUID=f"{study}.2", Modality="MR", SeriesNumber=2, **said)]


def named_in(file: Path | bytes) -> Named:
    """The UIDs of an image."""
    data_set = dataset_of(file)
    return Named(study=data_set.StudyInstanceUID, series=data_set.SeriesInstanceUID, instance=data_set.SOPInstanceUID)


def dataset_of(file: Path | bytes) -> pydicom.Dataset:
    return pydicom.dcmread(file if isinstance(file, Path) else pydicom.filebase.DicomBytesIO(file))


def _other(uid: str) -> str:
    """A UID that differs in its first digit alone; the root 2 is nobody's here."""
    return f"2{uid[1:]}"
