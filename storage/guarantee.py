"""The availability clock: until when a study is promised, and when it may go (law 9; HCPCS G9340).

Calendar dates are read in the installation's time zone. Where the calendar is ambiguous the later moment counts:
12 months after 29 February is 1 March, a month after 31 August is 1 October, and a promise lasts through its last day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from storage.model import Instant

MONTHS_AT_LEAST: Final = 12
MONTHS_OF_A_YEAR: Final = 12
AHEAD_DAYS: Final = 1  # a modality's day may be tomorrow here
SANE_DAYS: Final = 366  # a date further ahead is a slip of the pen, not an appointment
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY: Final = date(MAXYEAR - 1, 12, 31)
_DATE: Final = re.compile(r"\d{8}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """The promise on one study. `until` is exclusive.

    `hold` is true when the study date lies in the future, which is an error somewhere: the study is then to be held
    and reported, so that nothing ends until a person has looked.
    """

    until: Instant
    hold: bool = False


def guaranteed_until(study_date: str | None, received_at: Instant, months: int, zone: tzinfo) -> Guarantee:
    """The end of the day that lies `months` calendar months after the later of study date and day of receipt.

    A study date that is missing or malformed leaves the day of receipt. One up to a year ahead counts, with a hold; one
    further ahead does not count, and the hold stands in for it.

    Raises
    ------
    ValueError : fewer than 12 months
    """
    if months < MONTHS_AT_LEAST:
        raise ValueError(f"a guarantee lasts at least {MONTHS_AT_LEAST} months")
    received = day_of(received_at, zone)
    taken = parse_date(study_date) or received
    ahead = (taken - received).days
    counted = received if ahead > SANE_DAYS else max(taken, received)
    return Guarantee(until=end_of_day(add_months(counted, months), zone), hold=ahead > AHEAD_DAYS)


def purge_eligible_at(guaranteed: Instant, purge_after: Instant | None, *, held: bool) -> Instant | None:
    """When a study may be deleted: after guarantee and policy both; None is never: no policy, or a hold."""
    if purge_after is None or held:
        return None
    return max(guaranteed, purge_after)


def parse_date(text: str | None) -> date | None:
    """A DA value as a date (PS3.5 6.2), or None when it names no day."""
    if text is None or not _DATE.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def add_months(start: date, months: int) -> date:
    """The same day of a later month, or the first of the month after it where that month has no such day."""
    month = start.month - 1 + months
    year, month = start.year + month // MONTHS_OF_A_YEAR, month % MONTHS_OF_A_YEAR + 1
    if year >= MAXYEAR:
        return _LAST_DAY
    try:
        return date(year, month, start.day)
    except ValueError:
        return date(year + month // MONTHS_OF_A_YEAR, month % MONTHS_OF_A_YEAR + 1, 1)


def day_of(instant: Instant, zone: tzinfo) -> date:
    """The calendar date in `zone` at an instant."""
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone).date()


def start_of_day(day: date, zone: tzinfo) -> Instant:
    """The first instant of a date in `zone`; where clocks change at midnight, the later reading."""
    midnight = datetime.combine(day, time(), tzinfo=zone)
    return max(_instant(midnight), _instant(midnight.replace(fold=1)))


def end_of_day(day: date, zone: tzinfo) -> Instant:
    """The first instant after a date in `zone`: the exclusive end of a period through that day."""
    return start_of_day(day + timedelta(days=1), zone)


def _instant(moment: datetime) -> Instant:
    return (moment - _EPOCH) // timedelta(microseconds=1)
