"""Power cuts on a real ext4: whatever the disk had not been told to keep is gone, and nothing told may be among it.

The file system lies on a loop device. A cut is ext4's own shutdown without flushing its journal; what was only in the
page cache is lost with the unmounting. Mounted again, the journal is replayed as after a real cut.

    python -m tests.faults.power_cuts --cuts 100
    python -m tests.faults.power_cuts --cuts 5 --seed synchronous-normal     # must find losses
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.workload import SEEDS, Child, Survey, files, import_again, in_child, survey

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH = 2
COUNT = 24
SIZE_MIB = 256
A_CUT = 10  # cuts on one file system


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Disk:
    """An ext4 file system of its own, which can lose its power."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="power-"))
        self.image, self.mount_point = self.home / "disk.img", self.home / "mnt"
        self.mount_point.mkdir()
        with self.image.open("wb") as file:
            file.truncate(SIZE_MIB << 20)
        _run("mkfs.ext4", "-q", "-F", str(self.image))
        self.mount()

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.mount_point))

    def cut_power(self) -> None:
        fd = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(fd)

    def unmount(self) -> None:
        for _ in range(50):
            if subprocess.run(["umount", self.mount_point], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        _run("umount", str(self.mount_point))

    def remove(self) -> None:
        if os.path.ismount(self.mount_point):
            self.unmount()
        shutil.rmtree(self.home)


def usable() -> str | None:
    """Why this machine cannot do it, or None."""
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    if shutil.which("mkfs.ext4") is None:
        return "needs mkfs.ext4: apt-get install e2fsprogs"
    try:
        disk = Disk()
    except (subprocess.CalledProcessError, OSError) as error:
        return f"needs loop devices: {error}"
    disk.remove()
    return None


class Campaign:
    """Cuts on one disk after another, and what came of them."""

    def __init__(self, chance: random.Random, seed: str | None) -> None:
        self.chance = chance
        self.seed = seed
        self.wrong: list[str] = []
        self.told = self.lost = self.corrupt = self.orphans = self.in_the_middle = 0
        self.pace = 1.0  # how long an import takes here, seconds: the cuts are spread over it
        self.began = time.monotonic()

    def run(self, cuts: int) -> None:
        disk = Disk()
        try:
            for number in range(cuts):
                if number and number % A_CUT == 0:
                    disk.remove()
                    disk = Disk()
                self.cut(disk, number)
        finally:
            disk.remove()

    def cut(self, disk: Disk, number: int) -> None:
        root = disk.mount_point / "gateway"
        child = Child(root, files(number, COUNT), seed=self.seed, one_by_one=number % 2 == 0)
        early = number % 5 == 0  # the power may go while the store is opened, or made
        if not early and not child.wait_until_opened():
            self.wrong.append(f"cut {number}: the store could not be opened")
        child.go()
        time.sleep(self.chance.uniform(0, self.pace))
        disk.cut_power()
        # what was told by now was told before the cut; whoever is still running finds a dead disk
        child.kill()
        told = child.told()
        if not early:
            self._set_pace(len(told))
        disk.unmount()
        disk.mount()
        self._count(number, told, Survey(**in_child(survey, root, told)))
        if self.seed is None:
            again = Survey(**in_child(import_again, root, number, COUNT))
            self.wrong += [] if again.ok else [f"cut {number}, sent again: {again}"]

    def _set_pace(self, told: int) -> None:
        if told == COUNT:
            self.pace = max(0.05, self.pace / 2)
        elif not told:
            self.pace = min(5.0, self.pace * 1.5)

    def _count(self, number: int, told: list[str], found: Survey) -> None:
        self.told += len(told)
        self.in_the_middle += 0 < len(told) < COUNT
        self.lost += len(found.lost)
        self.corrupt += len(found.corrupt)
        self.orphans += found.orphans
        self.wrong += [] if found.ok else [f"cut {number}: {found}"]

    def __str__(self) -> str:
        return (
            f"{self.in_the_middle} in the middle, {self.told} acknowledged, {self.lost} lost, {self.corrupt} corrupt,"
            f" {self.orphans} harmless orphans, {len(self.wrong)} violations, {time.monotonic() - self.began:.0f} s"
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", choices=SEEDS)
    parser.add_argument("--chance", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    reason = usable()
    if reason is not None:
        print(reason)
        return 2
    campaign = Campaign(random.Random(arguments.chance), arguments.seed)
    campaign.run(arguments.cuts)
    print(f"power cuts {arguments.cuts}, chance {arguments.chance}, seed {arguments.seed or 'none'}: {campaign}")
    print(*(one[:2000] for one in campaign.wrong[:20]), sep="\n")
    return bool(campaign.wrong)


if __name__ == "__main__":
    sys.exit(main())
