"""Content negotiation (PS3.18 8.7): what clients really send, and what they should not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicomweb.accept import Offer, Representation, negotiate
from gateway.errors import NotAcceptable

DICOM, OCTETS, JSON = "application/dicom", "application/octet-stream", "application/dicom+json"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
STUDY = (Offer(media_type=DICOM, in_parts=True, with_syntax=True),)
INSTANCE = (Offer(media_type=DICOM, in_parts=True, alone=True, with_syntax=True),)
FRAME = (
    Offer(media_type=OCTETS, in_parts=True, alone=True, with_syntax=True),
    Offer(media_type="image/jpeg", in_parts=True, alone=True, with_syntax=True),
    Offer(media_type="image/jp2", in_parts=True, alone=True, with_syntax=True),
)
METADATA = (Offer(media_type=JSON, alone=True), Offer(media_type="application/json", alone=True))


def sent(media_type: str, syntax: str | None = None, *, alone: bool = False) -> Representation:
    return Representation(media_type=media_type, transfer_syntax=syntax, single_part=alone)


def best(offers: tuple[Offer, ...], *header: str, parameter: str | None = None) -> Representation | None:
    """The first choice without the others, None when nothing fits."""
    try:
        found = negotiate(header, [parameter] if parameter is not None else [], offers)
    except NotAcceptable:
        return None
    return sent(found.media_type, found.transfer_syntax, alone=found.single_part)


@pytest.mark.parametrize(
    ("offers", "accept", "expected"),
    [
        # as viewers and clients send it
        (STUDY, 'multipart/related; type="application/dicom"; transfer-syntax=*', sent(DICOM, "*")),
        (STUDY, "multipart/related; type=application/dicom", sent(DICOM)),
        (
            STUDY,
            'multipart/related;type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1',
            sent(DICOM, "1.2.840.10008.1.2.1"),
        ),
        (FRAME, "multipart/related; type=application/octet-stream; transfer-syntax=*", sent(OCTETS, "*")),
        (
            FRAME,
            'multipart/related; type="image/jpeg"; transfer-syntax=' + JPEG_BASELINE,
            sent("image/jpeg", JPEG_BASELINE),
        ),
        (FRAME, 'multipart/related; type="image/*"', sent("image/jpeg")),
        (METADATA, "application/dicom+json", sent(JSON, alone=True)),
        (METADATA, "application/json, application/dicom+json;q=0.5", sent("application/json", alone=True)),
        (METADATA, "application/dicom+json, multipart/related; type=application/octet-stream", sent(JSON, alone=True)),
        (METADATA, "application/dicom+json; charset=utf-8", sent(JSON, alone=True)),
        # wildcards give the default
        (STUDY, "*/*", sent(DICOM)),
        (INSTANCE, "*/*", sent(DICOM)),
        (FRAME, "text/html, image/*;q=0.8", sent("image/jpeg")),
        (METADATA, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", sent(JSON, alone=True)),
        (STUDY, "multipart/related", sent(DICOM)),
        (STUDY, "*/*; transfer-syntax=*", sent(DICOM, "*")),
        (STUDY, "application/*", sent(DICOM)),
        # one part
        (INSTANCE, "application/dicom", sent(DICOM, alone=True)),
        (INSTANCE, "application/dicom; transfer-syntax=*", sent(DICOM, "*", alone=True)),
        (FRAME, "image/jp2", sent("image/jp2", alone=True)),
        (STUDY, "application/dicom", None),
        (METADATA, 'multipart/related; type="application/dicom+json"', None),
        # spelling
        (STUDY, "MULTIPART/Related ; TYPE=Application/DICOM ; Transfer-Syntax = *", sent(DICOM, "*")),
        (STUDY, 'multipart/related; type="application\\/dicom"', sent(DICOM)),
        (STUDY, " , ,multipart/related; type=application/dicom,", sent(DICOM)),
        (STUDY, "multipart/related; ; type=application/dicom;", sent(DICOM)),
        (STUDY, 'text/html;a="x,y;z", */*', sent(DICOM)),
        # quality
        (INSTANCE, "application/dicom;q=0.5, multipart/related;type=application/dicom;q=0.9", sent(DICOM)),
        (INSTANCE, "application/dicom, */*", sent(DICOM, alone=True)),
        (INSTANCE, "*/*, application/dicom", sent(DICOM, alone=True)),
        (INSTANCE, "application/dicom;q=0, */*", sent(DICOM)),
        (METADATA, "application/dicom+json;q=0, */*;q=0.1", sent("application/json", alone=True)),
        (METADATA, "application/dicom+json;q=0", None),
        (METADATA, "*/*;q=0", None),
        # what asks for nothing
        (METADATA, "text/html", None),
        (METADATA, "", None),
        (METADATA, "application/dicom+json;q=NaN", None),
        (METADATA, "application/dicom+json;q=1.5", None),
        (METADATA, "application/dicom+json;q=-1", None),
        (STUDY, "multipart/related; type=application/dicom; transfer-syntax=JPEG", None),
        (STUDY, 'multipart/related; type="application/dicom', None),
        (STUDY, "multipart", None),
        (STUDY, "multipart/related; type=text/plain", None),
    ],
)
def test_accept_is_read_as_the_standard_says(offers, accept: str, expected: Representation | None) -> None:
    assert best(offers, accept) == expected


def test_nothing_asked_is_the_default() -> None:
    assert best(STUDY) == sent(DICOM)
    assert best(METADATA) == sent(JSON, alone=True)


def test_several_headers_are_one_list() -> None:
    assert best(METADATA, "text/html", "application/json") == sent("application/json", alone=True)


def test_the_parameter_comes_before_the_header() -> None:
    assert best(INSTANCE, "*/*", parameter="application/dicom") == sent(DICOM, alone=True)
    assert best(METADATA, "application/dicom+json", parameter="application/json;q=0.1") == sent(
        "application/json", alone=True
    )
    assert best(METADATA, "application/dicom+json", parameter="text/html") == sent(JSON, alone=True)
    assert best(METADATA, parameter="text/html") is None
    assert best(METADATA, "text/html", parameter="text/html") is None


def test_the_further_choices_come_in_their_order() -> None:
    header = (
        'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90;q=0.8, '
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}, '
        "multipart/related; type=application/octet-stream; q=0.5, "
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}; q=0.1'
    )
    found = negotiate([header], [], FRAME)
    assert (found.media_type, found.transfer_syntax) == ("image/jpeg", JPEG_BASELINE)
    assert found.others == (sent("image/jp2", "1.2.840.10008.1.2.4.90"), sent(OCTETS))


def test_a_transfer_syntax_means_nothing_for_json() -> None:
    assert best(METADATA, "application/dicom+json; transfer-syntax=*") == sent(JSON, alone=True)


def test_more_than_a_client_needs_is_refused() -> None:
    for header in ("text/html," * 300 + JSON, "a" * 17_000, f"{JSON}; a=" + '"' + "x" * 17_000 + '"'):
        assert best(METADATA, header) is None


@pytest.mark.parametrize(
    "unit",
    ['";\\"', ";a", "; ", ',"', "a/b,", "a/b;q=0.5;", '"\\', "multipart/related;type=", " ", "\t;=", 'a/b;a="', '\\"'],
)
def test_hostile_headers_are_refused(unit: str) -> None:
    header = unit * (16_000 // len(unit))
    with pytest.raises(NotAcceptable):
        negotiate([header], [], METADATA)


@given(st.text('abc/*;=,"\\ qtype01.-\n\u00e9', max_size=60))
@settings(max_examples=400, deadline=None)
def test_whatever_is_sent_is_answered_or_refused(header: str) -> None:
    try:
        found = negotiate([header], [], FRAME)
    except NotAcceptable:
        return
    assert found.media_type in {offer.media_type for offer in FRAME}
    assert found.transfer_syntax is None or re.fullmatch(r"[0-9.]+|\*", found.transfer_syntax)
