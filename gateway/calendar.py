"""Dates as people type them, as instants in the installation's time zone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.errors import BadRequest
from storage.model import Instant

EARLIEST, LATEST = 1900, 2250  # years; canonical JSON holds no instant beyond 2255


def parse_day(text: str) -> date:
    """A calendar date, `YYYY-MM-DD` or `YYYYMMDD`.

    Raises
    ------
    BadRequest : it is neither
    """
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a date; write it as YYYY-MM-DD.") from error
    if not EARLIEST <= day.year <= LATEST:
        raise BadRequest(f"{text!r} is not a date between the years {EARLIEST} and {LATEST}.")
    return day


def begins(day: date, zone: ZoneInfo) -> Instant:
    """The instant at which a day begins."""
    return int(datetime.combine(day, time.min, zone).timestamp()) * 1_000_000


def ends(day: date, zone: ZoneInfo) -> Instant:
    """The instant at which a day is over: what lasts until a date includes the whole of it."""
    return begins(day + timedelta(days=1), zone)


def as_day(instant: Instant, zone: ZoneInfo) -> str:
    """The day of an instant, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(instant / 1_000_000, zone).date().isoformat()


def last_day(until: Instant, zone: ZoneInfo) -> str:
    """The last day that an exclusive end still includes."""
    return as_day(until - 1, zone)
