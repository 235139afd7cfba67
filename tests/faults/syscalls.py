"""A fault at every system call of an import: killed there, or told EIO or ENOSPC, once at each point.

strace is attached to an importer that has opened its store, so that the count begins with the first instance. Every
point is one run: whatever was told must be there, the check must be clean, and sending again must complete it.

    python -m tests.faults.syscalls --every 1
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults.workload import Child, Survey, close, files, import_again, in_child, opened, survey

CALLS = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "link",
    "mkdir",
    "unlink",
    "close",
    "ftruncate",
    "pread64",
)
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC")
COUNT = 3
THREADS = {"takers": 1, "keepers": 1}  # so that a point is the same in every run
FIRST_ROUND = 9_000  # already in the store: it is not empty when the fault strikes


@dataclass(frozen=True)
class Point:
    call: str
    number: int
    fault: str

    def __str__(self) -> str:
        return f"{self.call} {self.number} {self.fault}"


def attach(pid: int, *options: str) -> subprocess.Popen[str]:
    """strace on a running process, already attached."""
    tracer = subprocess.Popen(["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    for line in tracer.stderr:
        if "attached" in line:
            return tracer
    raise RuntimeError("strace could not attach")


def prepare(home: Path) -> Path:
    """A store with something in it, to be copied for every run."""
    template = home / "template"
    store = opened(template)
    list(store.ingest.store_many([], store.ingest.delivery("prepare")))
    close(store)
    in_child(import_again, template, FIRST_ROUND, COUNT)
    return template


def points(template: Path, home: Path) -> list[Point]:
    """Every point of an undisturbed run: the most calls of each kind that one of its threads makes."""
    place, trace = home / "count", home / "trace"
    shutil.copytree(template, place)
    child = Child(place, files(0, COUNT), **THREADS)
    child.wait_until_opened()
    tracer = attach(child.pid, "-o", str(trace), "-e", f"trace={','.join(CALLS)}")
    child.go()
    assert len(child.told()) == COUNT
    tracer.communicate()
    made = Counter(re.findall(r"^(\d+) +(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    most = {call: max((n for (_, found), n in made.items() if found == call), default=0) for call in CALLS}
    shutil.rmtree(place)
    return [Point(call, number, fault) for call in CALLS for number in range(1, most[call] + 1) for fault in FAULTS]


def strike(template: Path, home: Path, point: Point) -> tuple[list[str], int, int]:
    """One run; gives what went wrong, how many were told, and how many orphans are left."""
    place = home / "run"
    shutil.copytree(template, place)
    child = Child(place, files(0, COUNT), **THREADS)
    child.wait_until_opened()
    tracer = attach(
        child.pid,
        "-o",
        "/dev/null",
        "-e",
        f"trace={point.call}",
        "-e",
        f"inject={point.call}:{point.fault}:when={point.number}",
    )
    child.go()
    told = child.told()
    tracer.communicate()
    found = Survey(**in_child(survey, place, told))
    again = Survey(**in_child(import_again, place, 0, COUNT))
    shutil.rmtree(place)
    wrong = [f"{point}: {one}" for one in (found, again) if not one.ok]
    return wrong, len(told), again.orphans


def campaign(every: int) -> list[str]:
    """Strike at every so-many-th point; gives what went wrong."""
    home = Path(tempfile.mkdtemp(prefix="syscalls-"))
    began = time.monotonic()
    try:
        template = prepare(home)
        chosen = points(template, home)
        total, chosen = len(chosen), chosen[::every]
        wrong, told, orphans, cut = [], 0, 0, 0
        for point in chosen:
            problems, count, left = strike(template, home, point)
            wrong += problems
            told, orphans, cut = told + count, orphans + left, cut + (count < COUNT)
    finally:
        shutil.rmtree(home)
    print(
        f"system calls: {len(chosen)} of {total} points, {cut} in which the fault was felt, {told} acknowledged,"
        f" {len(wrong)} violations, {orphans} orphans left after sending again, {time.monotonic() - began:.0f} s"
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="strike at every so-many-th point")
    arguments = parser.parse_args()
    wrong = campaign(arguments.every)
    print(*(one[:2000] for one in wrong[:20]), sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
