"""An image that cannot be read whole gives 503 or a connection that breaks: never a shorter answer (law 5)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.story.hospital import Facility
from tests.story.images import MIB, large_study, study_uid
from tests.story.wire import Cut, Line, parts_of
from tests.story.world import (
    AS_STORED,
    FRAMES_AS_STORED,
    JSON,
    ONE_AS_STORED,
    World,
    mixed_images,
    named_in,
)

COUNTER = count(100)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A served store whose objects a test may break, and a facility that may have them all."""

    world: World
    facility: Facility
    line: Line

    def small(self) -> list[bytes]:
        """A new study of three small images in two series."""
        number = next(COUNTER)
        return self._held(mixed_images(study_uid(number), f"BROKEN-{number}"), f"BROKEN-{number}")

    def large(self) -> list[bytes]:
        """A new study of four images of 2 MiB in one series."""
        number = next(COUNTER)
        images = large_study(f"BROKEN-{number}", number, instances=4, instance_bytes=2 * MIB)
        return self._held(list(images), f"BROKEN-{number}")

    def file(self, image: bytes) -> Path:
        return self.world.hospital.object_of(image)

    def _held(self, images: list[bytes], patient: str) -> list[bytes]:
        self.world.hospital.hold(images)
        self.world.hospital.consent(self.facility, patient)
        return images


@pytest.fixture
def store(world: World) -> Iterator[Store]:
    facility, line = world.facility()
    with line:
        yield Store(world=world, facility=facility, line=line)


def break_at(path: Path, offset: int) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def whole_requests(image: bytes) -> list[tuple[str, str]]:
    one = named_in(image)
    return [
        (one.study_path, AS_STORED),
        (one.series_path, AS_STORED),
        (one.path, AS_STORED),
        (one.path, ONE_AS_STORED),
        (one.path + "/frames/1", FRAMES_AS_STORED),
    ]


def test_a_missing_object_gives_503_to_whatever_it_is_part_of(store: Store) -> None:
    small, large = store.small(), store.large()
    store.file(small[0]).unlink()
    store.file(large[3]).unlink()
    for image in (small[0], large[3]):
        for path, accept in whole_requests(image):
            for method in ("GET", "HEAD"):
                answer = store.line.ask(method, path, accept)
                assert answer.status == 503, path
                assert answer.header("retry-after"), path
                assert method == "HEAD" or json.loads(answer.body)["status"] == 503


def test_a_shortened_object_gives_503(store: Store) -> None:
    large = store.large()
    shortened = store.file(large[2])
    shortened.chmod(0o600)
    shortened.write_bytes(large[2][:-1])
    for path, accept in whole_requests(large[2]):
        assert store.line.get(path, accept).status == 503, path


def test_a_flipped_bit_in_a_small_answer_gives_503(store: Store) -> None:
    small = store.small()
    break_at(store.file(small[0]), len(small[0]) - 100)
    for path, accept in whole_requests(small[0]):
        assert store.line.get(path, accept).status == 503, path
    kept = store.line.get(named_in(small[2]).series_path, AS_STORED)
    assert [body for _, body in parts_of(kept)] == [small[2]], "what is whole can be had"


def test_a_flipped_bit_far_inside_a_large_answer_breaks_the_connection(store: Store) -> None:
    large = store.large()
    break_at(store.file(large[3]), MIB + 77)
    one = named_in(large[3])
    with Line(port=store.world.server.port, token=store.line.token) as line:
        line.begin(one.study_path, AS_STORED)
        head = line.head()
        received = line.drain()
        assert head.status == 200
        assert head.length is not None
        assert len(received) < head.length
        assert all(image in received for image in large[:3]), "what came before it is as it is stored"
        assert large[3][MIB : MIB + 4096] not in received, "nothing of the piece that was broken was sent"
    outcome = store.world.hospital.outcome_of(store.facility, head.header("x-request-id"))
    assert outcome.plain["outcome"] == "error"
    assert len(received) <= outcome.plain["bytes"] < head.length
    assert head.header("x-request-id") in store.world.server.said(), "the operator hears of it"
    assert "ObjectCorrupt" in store.world.server.said()


def test_an_object_that_lies_cut_short_in_the_middle_of_an_answer_breaks_it(store: Store) -> None:
    """Its size is right when the answer begins."""
    large = store.large()
    with Line(port=store.world.server.port, token=store.line.token, receive_bytes=1 << 16) as line:
        line.begin(named_in(large[0]).study_path, AS_STORED)
        head = line.head()
        path = store.file(large[3])
        path.unlink()
        received = line.drain()
        assert head.length is not None
        assert len(received) < head.length
    assert store.line.get(named_in(large[0]).study_path, AS_STORED, Connection="close").status == 503


def test_metadata_of_a_broken_object_are_whole_or_refused(store: Store) -> None:
    small = store.small()
    store.file(small[0]).unlink()
    one = named_in(small[0])
    for path in (one.study_path, one.series_path):
        answer = store.line.get(path + "/metadata", JSON)
        expected = {one.study_path: 3, one.series_path: 2}[path]
        assert answer.status == 503 or len(json.loads(answer.body)) == expected


def test_a_cut_is_no_answer(store: Store) -> None:
    large = store.large()
    break_at(store.file(large[3]), 2 * MIB)
    with Line(port=store.world.server.port, token=store.line.token) as line, pytest.raises((Cut, ConnectionError)):
        line.get(named_in(large[3]).study_path, AS_STORED)
