"""What the DICOMweb edge refuses: content negotiation that finds nothing (PS3.18 8.7.8).

The docstring is the default message; it holds nothing that was sent.
"""

from __future__ import annotations


class NotAcceptable(Exception):
    """None of the media types asked for can be sent here."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").strip())
