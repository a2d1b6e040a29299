"""Each job starts at its times over a year, also where clocks are changed, and none twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from services.scheduler.__main__ import app
from shared.domain.schedule import BY_NAME, JOBS, TIME_ZONE, Job

SAO_PAULO = ZoneInfo(TIME_ZONE)
#: Clocks go from 02:00 to 03:00 on 2027-03-28, and from 03:00 to 02:00 on 2027-10-31.
BERLIN = ZoneInfo("Europe/Berlin")
#: Clocks go from 24:00 to 01:00 on 2027-04-29: that day has no midnight.
CAIRO = ZoneInfo("Africa/Cairo")
YEAR = timedelta(days=365)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


def starts(job: Job, zone: ZoneInfo, *, ask_every: timedelta) -> Iterator[datetime]:
    """Ask at this interval for a year what is due, and yield each start, in the zone."""
    now, last_start = NEW_YEAR, NEW_YEAR
    while (now := now + ask_every) < NEW_YEAR + YEAR:
        if job.is_due(now, last_start, zone):
            last_start = now
            yield job.last_due(now, zone)


#: Jobs with an hour, and the days between two of their runs.
SPACED = [(job.name, 1 if job.cron.endswith("*") else 7)
          for job in JOBS if job.cron.split()[1] != "*"]  # fmt: skip
HOURLY = Job("hourly", "20 * * * *", timedelta(minutes=20), timedelta(minutes=30), ())


@pytest.mark.parametrize(("name", "every"), SPACED)
@pytest.mark.parametrize("zone", [SAO_PAULO, BERLIN, CAIRO], ids=str)
def test_a_job_starts_once_on_each_of_its_days_of_a_year(
    name: str, every: int, zone: ZoneInfo
) -> None:
    job = BY_NAME[name]
    started = list(starts(job, zone, ask_every=timedelta(hours=1)))
    days = [at.date() for at in started]
    first = NEW_YEAR.astimezone(zone).date()
    assert days == [days[0] + timedelta(days=every * n) for n in range(len(days))]
    assert days[0] - first <= timedelta(days=every)
    assert len(days) >= 364 // every
    minute, hour = job.cron.split()[:2]
    off = {at.date().isoformat(): at.strftime("%H:%M") for at in started
           if at.strftime("%H:%M") != f"{int(hour):02}:{int(minute):02}"}  # fmt: skip
    skipped = {
        ("cleanup", "Africa/Cairo"): {"2027-04-30": "01:00"},  # there was no 00:00
        ("token-health", "Europe/Berlin"): {"2027-03-28": "03:00"},  # nor 02:00
    }
    assert off == skipped.get((name, zone.key), {})


@pytest.mark.parametrize("zone", [SAO_PAULO, BERLIN, CAIRO], ids=str)
def test_an_hourly_job_starts_each_hour_that_passes(zone: ZoneInfo) -> None:
    started = list(starts(HOURLY, zone, ask_every=timedelta(minutes=20)))
    real = [at.astimezone(UTC) for at in started]
    assert {after - before for before, after in pairwise(real)} == {timedelta(hours=1)}
    assert len(real) == 365 * 24 - (real[0].hour != 0)


@pytest.mark.parametrize("day", ["2027-03-28", "2027-10-31", "2027-06-01"])
def test_the_sweep_starts_every_five_minutes_that_pass(day: str) -> None:
    job, now = BY_NAME["retry-sweep"], datetime.fromisoformat(f"{day}T00:00:30+00:00")
    for _ in range(12 * 24):
        due = job.next_due(now, BERLIN)
        assert due.astimezone(UTC) - now == timedelta(minutes=4, seconds=30)
        now += timedelta(minutes=5)


def test_what_was_missed_is_caught_up_only_within_its_time() -> None:
    job = BY_NAME["partitions"]
    due = datetime(2027, 5, 4, 3, 40, tzinfo=SAO_PAULO)
    yesterday = due - timedelta(days=1)
    assert not job.is_due(due - timedelta(seconds=1), yesterday, SAO_PAULO)
    assert job.is_due(due, yesterday, SAO_PAULO)
    assert job.is_due(due + job.start_within, yesterday, SAO_PAULO)
    assert not job.is_due(due + job.start_within + timedelta(seconds=1), yesterday, SAO_PAULO)
    assert job.is_due(due, None, SAO_PAULO)
    assert not job.is_due(due + timedelta(hours=1), due, SAO_PAULO)


def test_a_job_is_overdue_once_a_run_should_have_ended() -> None:
    job = BY_NAME["partitions"]
    due = datetime(2027, 5, 4, 3, 40, tzinfo=SAO_PAULO)
    before, end = due - timedelta(hours=24), due + job.start_within + job.deadline
    assert not job.is_overdue(end - timedelta(seconds=1), before, SAO_PAULO)
    assert job.is_overdue(end, before, SAO_PAULO)
    assert not job.is_overdue(end, due, SAO_PAULO)
    assert job.is_overdue(due, None, SAO_PAULO)


def test_each_job_is_a_command_that_ends_before_it_may_start_again() -> None:
    commands = {command.name for command in app.registered_commands}
    assert {job.name for job in JOBS} <= commands
    for job in JOBS:
        first = job.next_due(NEW_YEAR, SAO_PAULO)
        again = job.next_due(first, SAO_PAULO)
        assert job.deadline < again - first
        assert job.start_within < again - first
        assert set(job.never_beside) <= set(BY_NAME)
