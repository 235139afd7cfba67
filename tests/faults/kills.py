"""kill -9 at random moments of an import: nothing told is lost, and sending again completes it.

python -m tests.faults.kills --times 200     then as often in the middle of retrieves (tests/story/retrieve_kills.py)
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.workload import Child, Survey, files, import_again, in_child, survey
from tests.story import retrieve_kills

COUNT = 24


def campaign(rounds: int, seed: int) -> list[str]:
    """Run the rounds; gives what went wrong."""
    chance, wrong, told_total, orphans, cut = random.Random(seed), [], 0, 0, 0
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    whole = _time_of_one(root / "measure")
    for number in range(rounds):
        place = root / str(number // 10)  # ten kills on one store
        child = Child(place, files(number, COUNT), one_by_one=number % 2 == 0)
        if number % 5:  # else it may be killed while it opens the store
            child.wait_until_opened()
        child.go()
        time.sleep(chance.uniform(0, whole * 1.1))
        child.kill()
        told = child.told()
        told_total += len(told)
        cut += len(told) < COUNT
        found = Survey(**in_child(survey, place, told))
        orphans += found.orphans
        again = Survey(**in_child(import_again, place, number, COUNT))
        wrong += [f"round {number}: {one}" for one in (found, again) if not one.ok]
    shutil.rmtree(root)
    print(
        f"kills {rounds} seed {seed}: {cut} in the middle, {told_total} acknowledged, {len(wrong)} violations,"
        f" {orphans} harmless orphans, {time.monotonic() - began:.0f} s"
    )
    return wrong


def _time_of_one(place: Path) -> float:
    child = Child(place, files(10_000, COUNT))
    child.wait_until_opened()
    began = time.monotonic()
    child.go()
    assert len(child.told()) == COUNT
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    wrong = campaign(arguments.times, arguments.seed)
    wrong += retrieve_kills.campaign(arguments.times, arguments.seed)
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
