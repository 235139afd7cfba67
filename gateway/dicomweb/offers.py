"""What each retrieve resource can be sent as; the first offer is the default (PS3.18 10.4.4, Table 8.7.3-5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from gateway.dicomweb.accept import Offer, Representation
from gateway.errors import NotAcceptable

Offers = Sequence[Offer]
T = TypeVar("T")

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
OCTETS: Final = "application/octet-stream"
FRAME_MEDIA_TYPES: Final = {
    **{f"1.2.840.10008.1.2.4.{number}": "image/jpeg" for number in (50, 51, 53, 55, 57, 70)},
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **{f"1.2.840.10008.1.2.4.{number}": "image/jls" for number in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{number}": "image/jp2" for number in (90, 91)},
    **{f"1.2.840.10008.1.2.4.{number}": "image/jpx" for number in (92, 93)},
    **{f"1.2.840.10008.1.2.4.{number}": "image/jphc" for number in (201, 202, 203)},
}
_FRAME_TYPES: Final = (OCTETS, *dict.fromkeys(FRAME_MEDIA_TYPES.values()))

INSTANCES: Final = (Offer(media_type=DICOM, in_parts=True, with_syntax=True),)
SINGLE_INSTANCE: Final = (Offer(media_type=DICOM, in_parts=True, alone=True, with_syntax=True),)
METADATA: Final = (Offer(media_type=DICOM_JSON, alone=True), Offer(media_type="application/json", alone=True))
FRAMES: Final = tuple(Offer(media_type=name, in_parts=True, with_syntax=True) for name in _FRAME_TYPES)
ONE_FRAME: Final = tuple(Offer(media_type=name, in_parts=True, alone=True, with_syntax=True) for name in _FRAME_TYPES)
BULK_DATA: Final = (Offer(media_type=OCTETS, in_parts=True, alone=True, with_syntax=True),)


def first_possible(representation: Representation, attempt: Callable[[Representation], T]) -> T:
    """What `attempt` makes of the best representation for which it can be made.

    Raises
    ------
    NotAcceptable : it cannot be made for any of those asked for; says why of the best one
    """
    refusal = NotAcceptable()
    for number, one in enumerate((representation, *representation.others)):
        try:
            return attempt(one)
        except NotAcceptable as error:
            refusal = refusal if number else error
    raise refusal
