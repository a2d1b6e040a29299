"""serve-schedule starts each job at its time, once, and stops it in good order."""

import asyncio
import json
import signal
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pytest import MonkeyPatch

from services.scheduler import serve_schedule
from services.scheduler.serve_schedule import Scheduler
from shared.domain.schedule import JOBS, TIME_ZONE, Job
from shared.store import job_runs
from shared.store.pool import Conn, Pool
from tests.support.backups import backup_settings
from tests.support.processes import start
from tests.support.waiting import eventually

ZONE = ZoneInfo(TIME_ZONE)
RUNS = "SELECT job, outcome::text FROM job_runs ORDER BY started_at"


class Starts:
    """Instead of processes: which jobs were started. Each runs until it is ended."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ending = asyncio.Event()
        self.stopped = 0

    async def run(self, job: Job) -> None:
        self.names.append(job.name)
        try:
            await self.ending.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise

    async def take(self) -> Sequence[str]:
        """Return the jobs started since the last time, by name."""
        await asyncio.sleep(0)
        names, self.names = self.names, []
        return sorted(names)


class Clock:
    """PostgreSQL's clock, as the test sets it."""

    def __init__(self, at: str) -> None:
        self.set(at)

    def set(self, at: str) -> None:
        self.at = datetime.fromisoformat(at).replace(tzinfo=ZONE)

    async def now(self, _: Conn) -> datetime:
        return self.at


@pytest.fixture
def starts(monkeypatch: MonkeyPatch) -> Starts:
    starts = Starts()
    monkeypatch.setattr(serve_schedule, "_run", starts.run)
    return starts


@pytest.fixture
async def clock(monkeypatch: MonkeyPatch, conn: Conn) -> Clock:
    """It is 23:58, and every job was started when it was due last."""
    clock = Clock("2027-05-03 23:58:00")
    monkeypatch.setattr(serve_schedule, "now", clock.now)
    for job in JOBS:
        await conn.execute(
            "INSERT INTO job_runs (id, job, started_at, ended_at, outcome)"
            " VALUES (gen_random_uuid(), $1, $2, $2, 'succeeded')",
            job.name,
            job.last_due(clock.at, ZONE),
        )
    return clock


async def test_a_job_is_started_at_its_time_and_once(
    pool: Pool, clock: Clock, starts: Starts
) -> None:
    scheduler = Scheduler(pool, ZONE)
    starts.ending.set()
    started = {}
    for at in ("23:59:59", "00:00:00", "00:00:10", "00:04:59", "00:05:03", "00:05:13", "00:20:01"):
        clock.set(f"2027-05-0{3 if at.startswith('23') else 4} {at}")
        await scheduler.start_due()
        started[at] = await starts.take()
    assert started == {
        "23:59:59": [],
        "00:00:00": ["cleanup", "retry-sweep"],
        "00:00:10": [],
        "00:04:59": [],
        "00:05:03": ["retry-sweep"],
        "00:05:13": [],
        "00:20:01": ["retention", "retry-sweep"],
    }


async def test_a_job_that_still_runs_is_not_started_beside_itself(
    pool: Pool, clock: Clock, starts: Starts
) -> None:
    scheduler = Scheduler(pool, ZONE)
    clock.set("2027-05-04 00:05:00")
    await scheduler.start_due()
    assert await starts.take() == ["cleanup", "retry-sweep"]
    clock.set("2027-05-04 00:10:00")
    await scheduler.start_due()
    assert await starts.take() == []
    await scheduler.stop()
    assert starts.stopped == 2


async def test_what_another_scheduler_has_started_is_not_started_again(
    pool: Pool, conn: Conn, clock: Clock, starts: Starts
) -> None:
    clock.set("2027-05-04 00:00:00")
    await conn.execute(
        "INSERT INTO job_runs (id, job, started_at) VALUES (gen_random_uuid(), 'cleanup', $1)",
        clock.at,
    )
    await Scheduler(pool, ZONE).start_due()
    assert await starts.take() == ["retry-sweep"]
    starts.ending.set()


async def test_a_daily_job_that_was_missed_starts_late_and_a_sweep_does_not(
    pool: Pool, clock: Clock, starts: Starts
) -> None:
    clock.set("2027-05-04 05:04:30")
    scheduler = Scheduler(pool, ZONE)
    await scheduler.start_due()
    assert await starts.take() == ["backup", "cleanup", "partitions", "token-health"]
    await scheduler.stop()
    clock.set("2027-05-05 05:04:30")
    await scheduler.start_due()
    assert await starts.take() == ["backup", "cleanup", "partitions", "token-health"]
    await scheduler.stop()


@pytest.mark.timeout(200)
async def test_the_process_starts_what_is_due_and_ends_in_good_order(
    environment: dict[str, str], conn: Conn, tmp_path: Path
) -> None:
    """The sweep is due within a minute at most, and some daily job was never started."""
    settings = backup_settings(tmp_path, environment["DATABASE_URL"])
    process = await start("services.scheduler", "serve-schedule", env=environment | settings)

    async def swept() -> bool:
        runs = await conn.fetch(RUNS)
        return ("retry-sweep", "succeeded") in {tuple(run) for run in runs}

    try:
        await eventually(swept, seconds=100)
    finally:
        process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 40)
    lines = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == 0, lines
    assert any(line["event"] == "schedule.ended" for line in lines)
    ends = await conn.fetch(RUNS)
    assert {run["outcome"] for run in ends} <= {"succeeded", "stopped"}
    assert lines[-1]["event"] == "process.stopped"


async def test_a_command_that_does_not_end_is_stopped(
    environment: dict[str, str], pool: Pool, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    """The sweep waits for a lock of its own table for longer than its deadline."""
    monkeypatch.setattr(serve_schedule, "GRACE_SECONDS", 5.0)
    job = Job("retention", "* * * * *", timedelta(0), timedelta(0), ("retention",))
    async with conn.transaction():
        await conn.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        await serve_schedule._run(job)
    [run] = [h for h in await job_runs.history(conn) if h.job == "retention"]
    assert run.outcome in ("stopped", None)
