"""The availability clock: until when a study is promised, and when it may go (law 9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from storage.model import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """The promise on one study. `until` is exclusive.

    `hold` is true when the study date lies in the future, which is an error somewhere: the study is held until a
    person has looked.
    """

    until: Instant
    hold: bool = False


def guaranteed_until(study_date: str | None, received_at: Instant, months: int, zone: tzinfo) -> Guarantee:
    """The end of the day that is `months` calendar months after the later of study date and day of receipt."""
    raise NotImplementedError


def purge_eligible_at(guaranteed: Instant, purge_after: Instant | None, *, held: bool) -> Instant | None:
    """When the study may be deleted; None is never: no policy says so, or it is held."""
    raise NotImplementedError


def start_of_day(date: str, zone: tzinfo) -> Instant:
    """The first instant of a DA date in `zone`."""
    raise NotImplementedError


def end_of_day(date: str, zone: tzinfo) -> Instant:
    """The first instant after a DA date in `zone`: the exclusive end of a period through that day."""
    raise NotImplementedError
