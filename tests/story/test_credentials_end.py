"""Credentials that end while they are in use: the next request is refused, and every refusal is the same one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from consent import parties
from gateway.auth.access_tokens import AccessTokens, signing_key
from tests.story.hospital import SECOND, Facility, now
from tests.story.images import PETER, PETER_STUDY, sample_files
from tests.story.wire import Answer, Line
from tests.story.world import AS_STORED, BASE, FRAMES_AS_STORED, JSON, World, named_in

ONE = named_in(sample_files(PETER_STUDY)[0])
PATHS = (
    (f"{BASE}/studies", JSON),
    (ONE.study_path, AS_STORED),
    (ONE.series_path + "/metadata", JSON),
    (ONE.path + "/frames/1", FRAMES_AS_STORED),
)


@pytest.fixture
def session(world: World) -> Iterator[tuple[Facility, Line]]:
    """A facility in the middle of its work: everything was asked for, and given, a moment ago."""
    facility, line = world.facility()
    world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    with line:
        for path, accept in PATHS:
            assert line.get(path, accept).status == 200
        yield facility, line


def unknown(line: Line) -> Answer:
    """What an unknown token is answered."""
    with Line(port=line.port, token="unknown") as other:
        return other.get(f"{BASE}/studies", JSON)


def test_a_revoked_token_is_refused_at_once(world: World, session: tuple[Facility, Line]) -> None:
    facility, line = session
    facility.revoke(world.server.url, line.token)
    for path, accept in PATHS:
        assert line.get(path, accept).features == unknown(line).features


def test_a_suspended_facility_is_shown_nothing_from_the_next_request_on(
    world: World, session: tuple[Facility, Line]
) -> None:
    facility, line = session
    world.hospital.command("facility", "suspend", facility.client_id, "--reason", "a story")
    for path, accept in PATHS:
        assert line.get(path, accept).features == unknown(line).features
    with pytest.raises(Exception, match="invalid_client"):
        facility.token(world.server.url)


def test_a_token_that_expires_meanwhile_is_refused(world: World, session: tuple[Facility, Line]) -> None:
    facility, line = session
    line.token = short_token(world, facility)
    until = now() + 5 * SECOND
    while (answer := line.get(PATHS[0][0], JSON)).status == 200:
        assert now() < until, "it still counts"
        time.sleep(0.05)
    for path, accept in PATHS:
        assert line.get(path, accept).features == answer.features == unknown(line).features


def short_token(world: World, facility: Facility) -> str:
    """A token that the gateway's key signed for two seconds."""
    tokens = AccessTokens(signing_key(world.hospital.parts.keys), issuer=world.server.url, life_s=2)
    full = world.hospital.parts.database.read(parties.get, facility.client_id)
    return tokens.write(
        tokens.new_grant(now(), client_id=facility.client_id, scopes=full.scopes, purpose=full.purposes[0])
    )
