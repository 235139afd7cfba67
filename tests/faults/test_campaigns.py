"""A few rounds of each campaign. The long ones are the `campaign-` targets of the Makefile; they print figures."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults import power_cuts


def run(campaign: str, *options: str) -> tuple[int, str]:
    """In a process of its own: the campaigns fork, which a process with threads should not."""
    command = [sys.executable, "-m", f"tests.faults.{campaign}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580)
    print(done.stdout, done.stderr[-2000:])
    return done.returncode, done.stdout


@pytest.fixture
def loop_devices() -> None:
    reason = power_cuts.usable()
    if reason is not None:
        if os.environ.get("OPENPRIORS_TESTS_REQUIRE_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)


def test_nothing_acknowledged_is_lost_to_kill_9() -> None:
    code, figures = run("kills", "--times", "6", "--seed", "7")
    assert code == 0, figures


@pytest.mark.needs("strace")
def test_a_fault_at_any_system_call_loses_nothing_and_sending_again_completes() -> None:
    code, figures = run("syscalls", "--every", "53")
    assert code == 0, figures


@pytest.mark.needs("strace")
def test_nothing_is_acknowledged_before_everything_it_needs_was_flushed() -> None:
    code, figures = run("strict_order")
    assert code == 0, figures
    assert "8 acknowledged, 0 violations" in figures


@pytest.mark.needs("strace")
@pytest.mark.parametrize("seed", ["no-file-sync", "no-directory-sync", "synchronous-normal"])
def test_the_strict_order_shows_every_forgotten_flush(seed: str) -> None:
    code, figures = run("strict_order", "--seed", seed)
    assert code == 1, figures
    assert "8 acknowledged" in figures


@pytest.mark.usefixtures("loop_devices")
def test_nothing_acknowledged_is_lost_to_a_power_cut() -> None:
    code, figures = run("power_cuts", "--cuts", "6", "--chance", "7")
    assert code == 0, figures


@pytest.mark.usefixtures("loop_devices")
@pytest.mark.parametrize(("seed", "found"), [("no-file-sync", " corrupt"), ("synchronous-normal", " lost")])
def test_power_cuts_show_what_was_not_flushed(seed: str, found: str) -> None:
    code, figures = run("power_cuts", "--cuts", "6", "--chance", "3", "--seed", seed)
    assert code == 1, figures
    number = figures.partition(found)[0].rpartition(" ")[2]
    assert int(number) > 0, figures
