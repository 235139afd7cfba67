"""Where an instance was found, for the requests that follow: a viewer asks for one frame after another.

What is remembered counts only while the epoch is the one it was decided in, read again from the database for each
request, and before the time at which a grant next begins or ends. So a revocation holds at once, as it does without.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consent.model import Decision
from storage.model import Instant, Located, Target

KEPT: Final = 4096
Key = tuple[str, Target, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a decision opened: in which epoch, and until when at the latest."""

    decision: Decision
    located: Located
    epoch: int
    until: Instant | None


class Remembered:
    """The findings of late, by credential and target. Only what was allowed is kept."""

    def __init__(self, clock: Callable[[], Instant]) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, Finding] = OrderedDict()

    def find(self, key: Key, epoch: int) -> Finding | None:
        """The finding, if it still counts in this epoch."""
        finding = self._kept.get(key)
        if finding is None:
            return None
        if finding.epoch != epoch or (finding.until is not None and finding.until <= self._clock()):
            del self._kept[key]
            return None
        return finding

    def keep(self, key: Key, finding: Finding) -> None:
        """Remember; the oldest goes when there are too many."""
        self._kept[key] = finding
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
