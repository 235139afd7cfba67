"""The availability clock: 12 calendar months at least, the later day where the calendar is unclear (law 9)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from storage.guarantee import (
    Guarantee,
    add_months,
    day_of,
    end_of_day,
    guaranteed_until,
    parse_date,
    purge_eligible_at,
    start_of_day,
)

ZONES = [
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Africa/Cairo",
    "Asia/Beirut",
]
NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return (moment - EPOCH) // timedelta(microseconds=1)


def local(at: int, zone: str = "UTC") -> str:
    return (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone)).isoformat()


def until(study_date: str | None, received: str, months: int = 12, zone: str = "UTC") -> str:
    return local(guaranteed_until(study_date, instant(received, zone), months, ZoneInfo(zone)).until, zone)


@pytest.mark.parametrize(
    ("study_date", "received", "months", "through"),
    [
        ("20250310", "2025-03-10T15:30", 12, "2026-03-10"),  # the whole of the day a year later
        ("20200101", "2025-03-10T00:00", 12, "2026-03-10"),  # an old study counts from its receipt
        ("20250310", "2025-03-09T23:59", 12, "2026-03-10"),  # a modality whose day began earlier
        ("20240229", "2024-02-29T08:00", 12, "2025-03-01"),  # 29 February -> 1 March
        ("20240229", "2024-02-29T08:00", 48, "2028-02-29"),  # unless there is one
        ("20230228", "2023-02-28T08:00", 12, "2024-02-28"),
        ("20250831", "2025-08-31T08:00", 13, "2026-10-01"),  # 31 -> the day after the last
        ("20250131", "2025-01-31T08:00", 13, "2026-03-01"),
        ("20241231", "2024-12-31T23:59", 12, "2025-12-31"),
        ("20251231", "2025-12-31T08:00", 14, "2027-03-01"),
        ("20250310", "2025-03-10T15:30", 84, "2032-03-10"),
    ],
)
def test_the_guarantee_lasts_through_the_day_calendar_months_later(
    study_date: str, received: str, months: int, through: str
) -> None:
    end = date.fromisoformat(through) + timedelta(days=1)
    assert until(study_date, received, months) == f"{end.isoformat()}T00:00:00+00:00"
    assert not guaranteed_until(study_date, instant(received), months, UTC).hold


@pytest.mark.parametrize(
    "study_date",
    [
        None,
        "",
        "2025",
        "20250230",
        "20251301",
        "99999999",
        "00000000",
        "2025-03-10",
        "20250310 ",
        "\uff12\uff10250310",
        "x",
    ],
)
def test_a_missing_or_malformed_date_leaves_the_day_of_receipt(study_date: str | None) -> None:
    assert until(study_date, "2025-03-10T15:30") == "2026-03-11T00:00:00+00:00"
    assert not guaranteed_until(study_date, instant("2025-03-10T15:30"), 12, UTC).hold


@pytest.mark.parametrize(
    ("study_date", "through", "hold"),
    [
        ("20250311", "2026-03-11", False),  # tomorrow, in a zone ahead of ours
        ("20250312", "2026-03-12", True),
        ("20260311", "2027-03-11", True),  # a year ahead counts still
        ("20260312", "2026-03-10", True),  # further ahead does not: the hold stands in for it
        ("22050310", "2026-03-10", True),
        ("99991231", "2026-03-10", True),
    ],
)
def test_a_date_in_the_future_is_held_and_counts_as_far_as_it_is_sane(
    study_date: str, through: str, hold: bool
) -> None:
    found = guaranteed_until(study_date, instant("2025-03-10T15:30"), 12, UTC)
    end = date.fromisoformat(through) + timedelta(days=1)
    assert (local(found.until), found.hold) == (f"{end.isoformat()}T00:00:00+00:00", hold)


def test_dates_are_those_of_the_hospitals_zone() -> None:
    late = instant("2025-03-10T23:30", "America/New_York")  # the 11th in UTC
    assert day_of(late, NEW_YORK) == date(2025, 3, 10)
    assert local(guaranteed_until(None, late, 12, NEW_YORK).until, "America/New_York") == "2026-03-11T00:00:00-04:00"
    assert local(guaranteed_until(None, late, 12, UTC).until) == "2026-03-12T00:00:00+00:00"


@pytest.mark.parametrize(
    ("day", "zone", "first"),
    [
        ("2025-03-09", "America/New_York", "2025-03-09T00:00:00-05:00"),  # the day loses an hour
        ("2025-03-10", "America/New_York", "2025-03-10T00:00:00-04:00"),
        ("2025-11-02", "America/New_York", "2025-11-02T00:00:00-04:00"),  # the day gains one
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T01:00:00-02:00"),  # midnight did not exist
        ("2018-02-18", "America/Sao_Paulo", "2018-02-18T00:00:00-03:00"),
        ("2025-04-06", "Australia/Lord_Howe", "2025-04-06T00:00:00+11:00"),
    ],
)
def test_a_day_begins_where_its_zone_says(day: str, zone: str, first: str) -> None:
    assert local(start_of_day(date.fromisoformat(day), ZoneInfo(zone)), zone) == first


def test_where_midnight_comes_twice_the_day_ends_with_the_second() -> None:
    """Cuba sets its clocks back at 01:00, so the hour after midnight is read twice."""
    zone = ZoneInfo("America/Havana")
    assert local(start_of_day(date(2024, 11, 3), zone), "America/Havana") == "2024-11-03T00:00:00-05:00"


def test_a_guarantee_is_never_shorter_than_twelve_months() -> None:
    for months in (11, 0, -12):
        with pytest.raises(ValueError, match="12 months"):
            guaranteed_until("20250310", instant("2025-03-10T15:30"), months, UTC)


def test_a_study_goes_after_guarantee_and_policy_both_and_never_while_held() -> None:
    assert purge_eligible_at(100, None, held=False) is None
    assert purge_eligible_at(100, 50, held=False) == 100
    assert purge_eligible_at(100, 150, held=False) == 150
    assert purge_eligible_at(100, 150, held=True) is None


DATES = st.dates(date(1900, 1, 1), date(2400, 12, 31))
MOMENTS = st.integers(instant("1990-01-01"), instant("2100-01-01"))


@settings(max_examples=500, deadline=None)
@given(DATES, MOMENTS, st.integers(12, 1200), st.sampled_from(ZONES))
def test_nothing_ends_before_twelve_months_after_the_later_of_both(
    studied: date, received: int, months: int, name: str
) -> None:
    zone = ZoneInfo(name)
    found = guaranteed_until(studied.strftime("%Y%m%d"), received, months, zone)
    counted = max(studied, day_of(received, zone))
    if (studied - day_of(received, zone)).days > 366:
        assert found.hold
        counted = day_of(received, zone)
    # said in another way: by the calendar's own year and month, the end lies past the same day a number of months on
    end = (EPOCH + timedelta(microseconds=found.until)).astimezone(zone)
    passed = (end.year - counted.year) * 12 + end.month - counted.month
    assert passed > months or (passed == months and end.day > counted.day)
    assert end - datetime(counted.year, counted.month, counted.day, tzinfo=zone) >= timedelta(days=months * 30.4 - 3)
    assert found.until >= received
    # and it ends with that day, no later than its month's overflow
    assert (end.date() - add_months(counted, months)).days <= 1 + (name == "Pacific/Apia")


@settings(max_examples=300, deadline=None)
@given(DATES, MOMENTS, st.integers(12, 300), st.integers(0, 300), st.sampled_from(ZONES))
def test_a_longer_rule_only_lengthens(studied: date, received: int, months: int, more: int, name: str) -> None:
    zone, text = ZoneInfo(name), studied.strftime("%Y%m%d")
    short = guaranteed_until(text, received, months, zone)
    assert guaranteed_until(text, received, months + more, zone).until >= short.until


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=10) | st.from_regex(r"[0-9]{8}", fullmatch=True), MOMENTS, st.sampled_from(ZONES))
def test_whatever_stands_in_the_date_the_day_of_receipt_is_the_least(text: str, received: int, name: str) -> None:
    zone = ZoneInfo(name)
    assert guaranteed_until(text, received, 12, zone).until >= guaranteed_until(None, received, 12, zone).until


@settings(max_examples=300, deadline=None)
@given(st.dates(date(1970, 1, 2), date(2500, 1, 1)), st.sampled_from(ZONES))
def test_days_follow_each_other_without_gap(day: date, name: str) -> None:
    zone = ZoneInfo(name)
    assume(not (name == "Pacific/Apia" and day == date(2011, 12, 30)))  # Samoa left this day out
    assert start_of_day(day, zone) < end_of_day(day, zone) == start_of_day(day + timedelta(days=1), zone)
    assert day_of(start_of_day(day, zone), zone) == day


def test_the_end_of_the_calendar_is_the_end() -> None:
    assert add_months(date(9998, 6, 1), 1200) == date(9998, 12, 31)
    assert parse_date("99991231") == date(9999, 12, 31)
    assert isinstance(guaranteed_until("99991231", instant("2099-01-01T00:00"), 1200, UTC), Guarantee)
