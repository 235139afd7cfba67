"""The harness that asks whether absent and forbidden can be told apart, in short: it must find what there is to find.

Whether there is nothing to find is for the campaign: python -m tests.story.timing
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.story.hospital import Facility, Hospital
from tests.story.telling_apart import area, learned, mid_ranks, pooled
from tests.story.timing import ROUTES, Thing, furnish, judge, measure, plan, serve_with_leak

BEAT_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Furnished:
    hospital: Hospital
    facility: Facility
    things: list[Thing]


@pytest.fixture
def furnished(home: Hospital) -> Furnished:
    facility = home.facility()
    return Furnished(hospital=home, facility=facility, things=furnish(home, facility, heavy=20))


def test_status_fields_and_body_are_the_same_and_the_only_ones(furnished: Furnished) -> None:
    server = furnished.hospital.serve()
    measured = measure(server, furnished.facility, plan(furnished.things, 400, seed=1))
    assert judge(measured, BEAT_S).differing == []
    for number, (name, *_) in enumerate(ROUTES):
        [(status, _, body)] = measured.features[number, True]
        assert (status, body) == (200, b"[]") if name.startswith("search") else status == 404


def test_a_leak_of_a_millisecond_is_found(furnished: Furnished) -> None:
    leaky = serve_with_leak(furnished.hospital, furnished.things, delay_ms=1.0)
    verdict = judge(measure(leaky, furnished.facility, plan(furnished.things, 1200, seed=2)), BEAT_S)
    assert verdict.differing == [], "only the time differs"
    found = list(verdict.told_apart())
    assert any(line.startswith("overall by time") for line in found), list(verdict.lines())


def test_the_area_is_that_of_mann_and_whitney() -> None:
    assert list(mid_ranks(np.array([3.0, 1.0, 3.0, 2.0]))) == [3.5, 1.0, 3.5, 2.0]
    scores, second = np.array([1.0, 2.0, 2.0, 4.0]), np.array([False, False, True, True])
    assert area(scores, second).value == (1 + 0.5 + 1 + 1) / 4
    chance = np.random.default_rng(3)
    coin = [area(chance.normal(size=400), chance.random(400) < 0.5) for _ in range(50)]
    assert pooled(coin).value == pytest.approx(0.5, abs=3 * pooled(coin).error)


def test_what_ranks_do_not_show_is_learned() -> None:
    """Measurements of one group at both sides of the other's: no rank tells them, a threshold pair does."""
    chance = np.random.default_rng(4)
    second = chance.random(2000) < 0.5
    seconds = np.where(second, chance.choice([-1.0, 1.0], size=2000), 0.0) + chance.normal(scale=0.3, size=2000)
    features = np.stack([seconds, chance.normal(size=2000), chance.normal(size=2000)], axis=1)
    assert area(seconds, second).value == pytest.approx(0.5, abs=0.05)
    assert learned(features, second).value > 0.9
