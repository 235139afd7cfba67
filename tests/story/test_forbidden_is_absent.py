"""Forbidden answers exactly as absent does, by every route, before a consent and after its end (law 4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consent.model import Effect
from tests.story.hospital import SECOND, Facility, now
from tests.story.images import ARCHIBALD_STUDY, PETER, PETER_STUDY, sample_files
from tests.story.wire import Answer, Line
from tests.story.world import (
    BASE,
    CANARY_NAME,
    FRAMES_AS_STORED,
    JSON,
    Named,
    World,
    frame_files,
    mixed_images,
    named_in,
)

PETERS, OTHERS = named_in(sample_files(PETER_STUDY)[0]), named_in(sample_files(ARCHIBALD_STUDY)[0])
MIXED = named_in(mixed_images()[0])
METHODS = ("GET", "HEAD")


def routes(one: Named) -> Iterator[tuple[str, str]]:
    yield from one.retrieves()
    yield from one.searches()
    yield from one.aliases()


def answers(line: Line, one: Named) -> Iterator[tuple[str, Answer]]:
    for path, accept in routes(one):
        for method in METHODS:
            yield f"{method} {path} as {accept}", line.ask(method, path, accept)


def assert_alike(line: Line, forbidden: Named) -> None:
    compared = zip(answers(line, forbidden), answers(line, forbidden.absent), strict=True)
    for (what, one), (_, other) in compared:
        assert one.features == other.features, what
        assert one.status in {404, 200, 405}, what
        assert one.status != 200 or one.body in {b"[]", b""}, what


@pytest.mark.parametrize("forbidden", [PETERS, MIXED, named_in(frame_files()[0])], ids=["study", "mixed", "frames"])
def test_what_nobody_consented_to_is_absent(world: World, forbidden: Named) -> None:
    with world.facility()[1] as line:
        assert_alike(line, forbidden)


@pytest.mark.parametrize(
    "query",
    ["PatientID={}", "PatientID={}&includefield=all", "00100020={}&limit=1", "PatientID={}&offset=1"],
)
def test_a_forbidden_patient_is_absent(world: World, query: str) -> None:
    with world.facility()[1] as line:
        for level in ("studies", "series", "instances"):
            one, other = (line.get(f"{BASE}/{level}?{query.format(patient)}", JSON) for patient in (PETER, "98890235"))
            assert one.features == other.features
            assert one.body == b"[]"
        names = (line.get(f"{BASE}/studies?PatientName={name}", JSON) for name in (CANARY_NAME, "Nobody^Else"))
        assert len({answer.features for answer in names}) == 1


def test_of_a_facility_with_consent_the_other_studies_stay_absent(world: World) -> None:
    facility, line = world.facility()
    world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    with line:
        assert_alike(line, OTHERS)
        crossed = Named(study=PETERS.study, series=OTHERS.series, instance=OTHERS.instance)
        nothing = Named(study=PETERS.study, series=OTHERS.absent.series, instance=OTHERS.absent.instance)
        for (path, accept), (other, _) in zip(crossed.retrieves(), nothing.retrieves(), strict=True):
            if path != PETERS.study_path and path != PETERS.study_path + "/metadata":
                assert line.get(path, accept).features == line.get(other, accept).features, path


@pytest.fixture
def session(world: World) -> Iterator[tuple[Facility, Line, str]]:
    """A facility that has just been given everything of a study, frames too."""
    facility, line = world.facility()
    consent = world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    with line:
        for path, accept in (*PETERS.retrieves(), *PETERS.searches()):
            line.get(path, accept)
        assert line.get(PETERS.path + "/frames/1", FRAMES_AS_STORED).status == 200
        yield facility, line, consent


def test_after_a_revocation_in_another_process_the_study_is_absent_at_once(
    world: World, session: tuple[Facility, Line, str]
) -> None:
    _, line, consent = session
    world.hospital.command("consent", "revoke", consent, "--reason", "the patient changed their mind")
    frame, absent = (
        line.get(one.path + "/frames/1", FRAMES_AS_STORED) for one in (PETERS, PETERS.absent)
    )  # asked for a moment before, and remembered then
    assert frame.features == absent.features
    assert frame.status == 404
    assert line.get(f"{BASE}/studies", JSON).body == b"[]"
    assert_alike(line, PETERS)


def assert_gone(line: Line) -> None:
    for (path, accept), (absent, _) in zip(PETERS.retrieves(), PETERS.absent.retrieves(), strict=True):
        assert line.get(path, accept).features == line.get(absent, accept).features, path
    assert line.get(f"{BASE}/studies", JSON).body == b"[]"


def test_at_the_end_of_a_consent_the_study_is_absent_without_anybody_doing_anything(world: World) -> None:
    facility, line = world.facility()
    ends = now() + 2 * SECOND
    world.hospital.consent(facility, PETER, studies=[PETER_STUDY], ends=ends)
    with line:
        assert_frames_until(line, ends)
        assert_gone(line)


def test_a_refusal_that_begins_later_counts_from_its_first_instant(world: World) -> None:
    facility, line = world.facility()
    world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    begins = now() + 2 * SECOND
    world.hospital.consent(facility, PETER, effect=Effect.DENY, begins=begins)
    with line:
        assert_frames_until(line, begins)
        assert_gone(line)


def assert_frames_until(line: Line, instant: int) -> None:
    """Frames come while they may, and no request that was made after the instant gets one."""
    got, asked = 0, now()
    while line.get(PETERS.path + "/frames/1", FRAMES_AS_STORED).status == 200:
        assert asked < instant, "a frame was given after the end"
        got, asked = got + 1, now()
    assert got, "a frame was given before the end"


def test_no_answer_names_a_host_that_the_client_made_up(world: World) -> None:
    with world.facility()[1] as line:
        for path, accept in PETERS.aliases():
            answer = line.get(path, accept, Host="attacker.example")
            assert "attacker" not in repr(answer), path
            assert answer.status in {400, 404}, path
