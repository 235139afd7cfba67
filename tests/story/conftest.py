"""One gateway for the stories, and its output beside whatever test fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.hospital import Hospital
from tests.story.world import World, build

RUNNING: list[Hospital] = []
SHOWN = 6000  # characters of a gateway's output


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A served installation with images, without facilities and consents: each story brings its own."""
    made = Hospital(tmp_path_factory.mktemp("world"))
    RUNNING.append(made)
    yield build(made)
    RUNNING.remove(made)
    made.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Hospital]:
    """An installation of a test's own."""
    made = Hospital(tmp_path / "hospital")
    RUNNING.append(made)
    yield made
    RUNNING.remove(made)
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for server in (server for hospital in RUNNING for server in hospital.servers):
            report.sections.append((f"{server.url} said", server.said()[-SHOWN:]))
    return report
