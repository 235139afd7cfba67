"""Made-up instances: small, valid, and different wherever a test needs them to be."""

from __future__ import annotations

import io

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY, SERIES = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.1.1"


def instance(
    number: int = 1, *, preamble: bytes = b"", source_ae: str = "SCANNER", size: int = 32, **attributes
) -> bytes:
    """A Part 10 file. `attributes` are PS3.6 keywords; None leaves an attribute out."""
    values = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{attributes.get('SeriesInstanceUID', SERIES)}.{number}",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "StudyDate": "20250131",
        "StudyTime": "101500",
        "Modality": "CT",
        "PatientID": "CITIZEN-1",
        "PatientName": "Citizen^Jane",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "AccessionNumber": "A-1",
        "StudyID": "S-1",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "Rows": 4,
        "Columns": 4,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": bytes([number % 256]) * size,
        **attributes,
    }
    if size >= 2048:
        values |= {"Rows": size // 2048, "Columns": 1024}  # pixels of two bytes
    return encode(values, preamble=preamble, source_ae=source_ae)


def encode(values: dict, *, preamble: bytes = b"", source_ae: str = "SCANNER") -> bytes:
    data_set = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = source_ae
    file = FileDataset("", data_set, file_meta=meta, preamble=preamble.ljust(128, b"\0"))
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
