"""How an instance's DICOM JSON is kept: what its study says once, and what it says itself.

A fragment is lines of `storage/dicom_json.py` joined by line ends, ascending by tag. The study's fragment holds the
attributes of the patient and study modules as its first instance had them; an instance's fragment, deflated, holds
every line that differs from them, and a line that ends at its colon for each that the instance lacks. So `merge` gives
back exactly what was encoded, whatever the instances of a study disagree about.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

TAG: Final = slice(1, 9)  # of a line: `"ggggeeee":…`
ABSENT_LENGTH: Final = len('"ggggeeee":')
LEVEL: Final = 4  # a twentieth larger than the usual 6, in a fifth of the time
RAW: Final = -15  # deflate without a wrapper

# the character set and the time zone explain the values of both levels
_EXPLAINING = "00080005 00080201 "

# Patient (PS3.3 C.7.1.1)
_PATIENT = (
    "00081120 00100010 00100020 00100021 00100022 00100024 00100026 00100027 00100028 00100030 "
    "00100032 00100033 00100034 00100035 00100040 00100200 00100212 00100213 00100216 00100218 "
    "00100219 00100221 00101000 00101001 00101002 00101100 00102160 00102161 00102162 00102201 "
    "00102202 00102292 00102293 00102294 00102297 00102298 00102299 00104000 00120062 00120063 00120064 "
)

# General Study (PS3.3 C.7.2.1)
_STUDY = (
    "00080020 00080030 00080050 00080051 00080090 00080096 0008009C 0008009D 00081030 00081032 "
    "00081048 00081049 00081060 00081062 00081110 0020000D 00200010 00321033 00321034 00401012 "
)

# General Series and General Equipment (PS3.3 C.7.3.1, C.7.5.1)
_SERIES = (
    "00080021 00080031 00080060 00080070 00080080 00080081 00081010 0008103E 0008103F 00081040 "
    "00081041 00081050 00081052 00081070 00081072 00081090 00081111 00081250 00102210 00180015 "
    "00181000 00181002 00181008 0018100A 0018100B 00181020 00181030 00181050 00181200 00181201 "
    "00181204 00181205 00185100 0020000E 00200011 00200060 00280108 00280109 00400244 00400245 "
    "00400250 00400251 00400253 00400254 00400260 00400275 00400280 300A0700 "
)

STUDY_TAGS: Final = frozenset((_EXPLAINING + _PATIENT + _STUDY).encode().split())
SERIES_TAGS: Final = frozenset((_EXPLAINING + _SERIES).encode().split())


def study_fragment(lines: Sequence[bytes]) -> bytes:
    """What an instance says of its patient and study."""
    return b"\n".join(line for line in lines if line[TAG] in STUDY_TAGS)


def series_fragment(lines: Sequence[bytes]) -> bytes:
    """What an instance says of its series and of the equipment that made it."""
    return b"\n".join(line for line in lines if line[TAG] in SERIES_TAGS)


def instance_fragment(lines: Sequence[bytes], study: bytes) -> bytes:
    """What is left of an instance beside its study's fragment, deflated."""
    common = study.split(b"\n") if study else []
    own = {line[TAG] for line in lines}
    known = set(common)
    kept = [line for line in lines if line not in known]
    absent = [line[:ABSENT_LENGTH] for line in common if line[TAG] not in own]
    return deflate(b"\n".join(sorted(kept + absent)))


def merge(study: bytes, instance: bytes) -> list[bytes]:
    """The lines of an instance, ascending by tag, exactly as they were encoded."""
    own = zlib.decompress(instance, RAW).split(b"\n")
    tags = {line[TAG] for line in own}
    lines = [line for line in study.split(b"\n") if line and line[TAG] not in tags]
    lines += [line for line in own if len(line) > ABSENT_LENGTH]
    lines.sort()
    return lines


def deflate(text: bytes) -> bytes:
    """`text`, deflated without a wrapper."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW)
    return compressor.compress(text) + compressor.flush()
