"""How much of everything one run does: `FULL` for a figure to quote, `QUICK` for CI."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sizes, counts and durations of a run."""

    name: str
    slices: int  # instances in each of the two series of the large study, 512 KiB of pixels each
    patients: int  # patients with small studies, the volume that a search has to look through
    studies: int  # studies of each of them
    instances: int  # instances of each small study
    searched: int  # how many of those patients consented, and are searched for
    rounds: int
    load_s: int  # one round of requests/s
    store_files: int  # 512 KiB instances stored in one round
    slow_instances: int  # instances of the study for slow clients, 4 MiB of pixels each
    slow_s: int
    slow_rate: int  # bytes/s of each of the four slow clients


FULL = Profile(
    name="full",
    slices=300,
    patients=1250,
    studies=2,
    instances=2,
    searched=32,
    rounds=5,
    load_s=5,
    store_files=200,
    slow_instances=512,
    slow_s=30,
    slow_rate=32 * MIB,
)
QUICK = Profile(
    name="quick",
    slices=100,
    patients=100,
    studies=2,
    instances=2,
    searched=6,
    rounds=5,
    load_s=1,
    store_files=40,
    slow_instances=64,
    slow_s=6,
    slow_rate=8 * MIB,
)
