"""A permission that ends between the decision and the first byte: the answer is that of an absent study.

The record of a request waits for the record of the revocation, so that its decision is older than what it waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from consent import register
from tests.story.hospital import Facility
from tests.story.images import PETER, PETER_STUDY, sample_files
from tests.story.wire import Answer, Line
from tests.story.world import AS_STORED, BASE, FRAMES_AS_STORED, JSON, Named, World, named_in

ONE = named_in(sample_files(PETER_STUDY)[0])
DECIDED_S = 0.5  # by then a request has been decided and waits for its record


def studies(one: Named) -> str:
    return f"{BASE}/studies?StudyInstanceUID={one.study}"


@pytest.fixture
def allowed(world: World) -> Iterator[tuple[Facility, Line, str]]:
    facility, line = world.facility()
    consent = world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    with line:
        yield facility, line, consent


def answer_around_revocation(world: World, line: Line, consent: str, path: str, accept: str) -> Answer:
    """The answer to a request that is decided before a revocation is committed and recorded after it."""
    hospital = world.hospital
    changed, asked = threading.Event(), threading.Event()

    def revoke(tx: Connection) -> None:
        register.revoke(tx, hospital.parts.log, consent, hospital.provenance(), reason="a story")
        changed.set()
        asked.wait(10)
        time.sleep(DECIDED_S)

    revoking = threading.Thread(target=hospital.parts.database.write, args=(revoke,))
    revoking.start()
    assert changed.wait(10)
    line.begin(path, accept)
    asked.set()
    head = line.head()
    revoking.join()
    assert head.length is not None
    body = line.read(head.length) if head.length else b""
    return Answer(status=head.status, fields=head.fields, body=body)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("study_path", AS_STORED),
        ("series_path", AS_STORED),
        ("path", AS_STORED),
        ("study_path/metadata", JSON),
        ("series_path/metadata", JSON),
        ("path/metadata", JSON),
        ("path/frames/1", FRAMES_AS_STORED),
    ],
)
def test_a_retrieve_that_was_decided_before_a_revocation_sends_nothing_after_it(
    world: World, allowed: tuple[Facility, Line, str], path: str, accept: str
) -> None:
    facility, line, consent = allowed
    name, _, rest = path.partition("/")
    path = getattr(ONE, name) + (f"/{rest}" if rest else "")
    absent = line.get(path.replace(ONE.study, ONE.absent.study), accept)
    answer = answer_around_revocation(world, line, consent, path, accept)
    assert answer.features == absent.features
    intents = [e for e in world.hospital.events("facility", facility.client_id) if e.kind.value == "retrieve.intent"]
    assert len(intents) == 1, "that it was about to be sent stays on record"


def test_a_search_that_was_decided_before_a_revocation_shows_nothing_after_it(
    world: World, allowed: tuple[Facility, Line, str]
) -> None:
    _, line, consent = allowed
    assert line.get(studies(ONE), JSON).body != b"[]"
    answer = answer_around_revocation(world, line, consent, studies(ONE), JSON)
    assert answer.features == line.get(studies(ONE.absent), JSON).features


def test_what_is_sent_under_another_consent_is_recorded_under_that_one(
    world: World, allowed: tuple[Facility, Line, str]
) -> None:
    """A consent that is renewed within the minute that one intent may cover: the record names both."""
    facility, line, consent = allowed
    frame = ONE.path + "/frames/1"
    assert line.get(frame, FRAMES_AS_STORED).status == 200
    world.hospital.parts.database.write(
        register.revoke, world.hospital.parts.log, consent, world.hospital.provenance(), reason="a new form"
    )
    renewed = world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    assert line.get(frame, FRAMES_AS_STORED).status == 200
    events = world.hospital.events("facility", facility.client_id)
    grounds = [e.plain["ground"] for e in events if e.kind.value == "retrieve.intent"]
    assert grounds == [[f"{consent}/1"], [f"{renewed}/1"]]
