"""Keep the daily partitions of the bodies: add those of the coming days, drop those of the past."""

import asyncio
from datetime import date
from functools import partial

import structlog

from services.scheduler.run_job import JobFailed
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.process.crash_points import crash_point
from shared.settings.load import load
from shared.settings.retention import RetentionSettings
from shared.store.intake import partitions, past_partitions
from shared.store.pool import ACQUIRE_SECONDS, Conn, now

log = structlog.get_logger()

#: The pause between two batches of copies, so that the services' own statements come first.
PAUSE_SECONDS = 0.05


async def maintain(*, dry_run: bool) -> None:
    """Add partitions of the coming days and drop past ones, once nothing unsettled is left in them.

    Raise JobFailed if then less than a week has partitions ahead.
    """
    settings = load(RetentionSettings)
    work = partial(_maintain, settings.retention_body_days, dry_run=dry_run)
    await run_scheduled("partitions", settings, work, dry_run=dry_run)


async def _maintain(days: int, run: JobRun, *, dry_run: bool) -> None:
    async with run.pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
        await conn.execute(f"SET statement_timeout = '{partitions.MOVE_SECONDS}s'")
        today = (await now(conn)).date()
        if not dry_run:
            run.counts["added"] = await partitions.add_ahead(conn, today)
            crash_point("partitions.added")
        first_kept = past_partitions.first_kept_day(today, days)
        for day in await past_partitions.days_before(conn, first_kept):
            if dry_run:
                run.counts["copied"] += await past_partitions.count_uncopied(conn, day)
            else:
                await _drop(conn, day, run)
            run.counts["dropped"] += 1
        ahead = await partitions.days_ahead(conn, today)
    run.counts["ahead"] = ahead
    if ahead < partitions.ALARM_DAYS_AHEAD and not dry_run:
        raise JobFailed(
            f"only {ahead} days ahead have a partition: see docs/runbook.md, Scheduled jobs"
        )


async def _drop(conn: Conn, day: date, run: JobRun) -> None:
    async with partitions.changing_partitions(conn):
        while count := await past_partitions.copy_unsettled(conn, day):
            run.counts["copied"] += count
            crash_point("partitions.copied")
            await asyncio.sleep(PAUSE_SECONDS)
        run.counts["copied"] += await past_partitions.drop(conn, day)
    crash_point("partitions.dropped")
    log.info("partitions.dropped", day=day.isoformat())
