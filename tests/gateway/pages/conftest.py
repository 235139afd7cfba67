"""The staff pages over real HTTP, with a hospital behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.auth.staff import Role
from tests.gateway.pages.hospital import Browser, Hospital, served


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path)
    with served(made.app(), made.port):
        yield made
    made.close()


@pytest.fixture
def browser(hospital: Hospital) -> Callable[[], Browser]:
    """Open another browser."""
    return lambda: Browser(hospital.base)


@pytest.fixture
def desk(hospital: Hospital, browser: Callable[[], Browser]) -> Browser:
    """A browser in which somebody who keeps consents is signed in."""
    opened = browser()
    opened.sign_in(hospital.employ(Role.CONSENT))
    return opened
