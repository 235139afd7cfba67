"""A study's fragment and an instance's are, merged, exactly what was encoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from storage.dicom_json import encode_lines
from storage.fragment import SERIES_TAGS, STUDY_TAGS, TAG, instance_fragment, merge, series_fragment, study_fragment
from storage.scan import scan
from storage.unusable import UnusableInstance
from tests.storage import made_up, sample_files


def encoded_samples() -> Iterator[tuple[Path, list[bytes]]]:
    for path in sample_files.everything():
        file = path.read_bytes()
        try:
            yield path, encode_lines(scan(file), file)
        except UnusableInstance:
            continue


def lines_of(file: bytes) -> list[bytes]:
    return encode_lines(scan(file), file)


def test_every_real_instance_is_given_back_exactly_beside_its_own_study_and_any_other() -> None:
    samples = list(encoded_samples())
    assert len(samples) > 150
    before = study_fragment(samples[-1][1])
    for path, lines in samples:
        own = study_fragment(lines)
        for study in (own, before, b""):
            assert merge(study, instance_fragment(lines, study)) == lines, path
        before = own


def test_the_study_says_patient_and_study_and_nothing_of_a_series() -> None:
    for path, lines in encoded_samples():
        study, series = study_fragment(lines).split(b"\n"), series_fragment(lines).split(b"\n")
        assert {line[TAG] for line in study if line} <= STUDY_TAGS, path
        assert {line[TAG] for line in series if line} <= SERIES_TAGS, path
        assert {b"0020000D", b"00100020"} & {line[TAG] for line in study}, path
    for tag in (b"00080060", b"0020000E", b"00080018", b"00081155", b"00181030", b"0008103E", b"00080021"):
        assert tag not in STUDY_TAGS


def test_what_the_study_says_is_not_said_again() -> None:
    first, second = lines_of(made_up.instance(1)), lines_of(made_up.instance(2))
    study = study_fragment(first)
    assert len(instance_fragment(second, study)) < len(instance_fragment(second, b"")) - 100


def test_an_attribute_that_an_instance_lacks_stays_absent() -> None:
    study = study_fragment(lines_of(made_up.instance(1, PatientComments="only here")))
    lines = lines_of(made_up.instance(2))
    assert any(b"00104000" in line for line in study.split(b"\n"))
    assert merge(study, instance_fragment(lines, study)) == lines


TAGS = st.sampled_from(sorted(STUDY_TAGS | SERIES_TAGS | {b"00080018", b"7FE00010", b"00091001"}))
VALUES = st.sampled_from([b'{"vr":"LO"}', b'{"vr":"LO","Value":["a"]}', b'{"vr":"LO","Value":["b"]}'])
LINES = st.dictionaries(TAGS, VALUES, min_size=1).map(
    lambda found: [b'"%b":%b' % (tag, found[tag]) for tag in sorted(found)]
)


@given(LINES, LINES)
def test_any_two_instances_may_share_a_study(first: list[bytes], second: list[bytes]) -> None:
    study = study_fragment(first)
    assert merge(study, instance_fragment(second, study)) == second
