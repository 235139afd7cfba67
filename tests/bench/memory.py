"""Resident memory of a server with all its children, read from /proc while it works."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident bytes of the process tree before, at the highest sample during, and after some work."""

    before: int
    peak: int
    after: int


def parents() -> dict[int, int]:
    """Every process and its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it ended meanwhile
                continue
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def tree(pid: int) -> set[int]:
    """This process and all below it."""
    above, found, size = parents(), {pid}, 0
    while size != len(found):
        size = len(found)
        found |= {child for child, parent in above.items() if parent in found}
    return found


def resident(pid: int) -> int:
    """Resident bytes of a process and all below it; pages that they share count for each."""
    total = 0
    for one in tree(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE
        except OSError:  # it ended meanwhile
            continue
    return total


class Watch:
    """Samples a process tree while the body of the `with` runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.peak = self.after = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self.before = self.peak = resident(self.pid)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.after = resident(self.pid)

    def _sample(self) -> None:
        while not self._over.wait(EVERY_S):
            self.peak = max(self.peak, resident(self.pid))

    @property
    def memory(self) -> Memory:
        return Memory(before=self.before, peak=max(self.peak, self.after), after=self.after)
