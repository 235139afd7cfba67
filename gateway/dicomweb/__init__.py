"""The wire side of DICOMweb (PS3.18)."""
