"""Clean up at midnight: onboardings that expired, and records that nobody needs any more."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from services.scheduler.jobs.batches import JobStep, run_steps
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.settings.load import load
from shared.settings.retention import RetentionSettings
from shared.store import retention
from shared.store.connections import expired_onboardings
from shared.store.pool import now, transaction
from shared.store.retention import AgedRows

BUDGET = timedelta(minutes=20)


async def clean_up(*, dry_run: bool) -> None:
    """Mark expired onboardings and delete their tokens; delete keys that do not work any more, done
    follow-ups, finished replays, and old runs and audit records.

    Safe to stop at any moment and to repeat.
    """
    settings = load(RetentionSettings)
    await run_scheduled(
        "cleanup", settings, partial(_clean_up, settings, dry_run=dry_run), dry_run=dry_run
    )


async def _clean_up(settings: RetentionSettings, run: JobRun, *, dry_run: bool) -> None:
    async with transaction(run.pool) as conn:
        at = await now(conn)
    steps = (
        JobStep(
            "onboardings",
            lambda conn, _: expired_onboardings.expire(conn),
            expired_onboardings.count,
        ),
        *_aged_rows(settings, at),
    )
    await run_steps(run, steps, BUDGET, dry_run=dry_run)


def _aged_rows(settings: RetentionSettings, at: datetime) -> Sequence[JobStep]:
    return [
        _delete(rows, at - timedelta(days=days))
        for rows, days in (
            (retention.DONE_FOLLOW_UPS, settings.retention_done_days),
            (retention.FAILED_CALLS, settings.retention_done_days),
            (retention.FINISHED_REPLAYS, settings.retention_done_days),
            (retention.USELESS_KEYS, settings.retention_key_days),
            (retention.JOB_RUNS, settings.retention_run_days),
            (retention.AUDIT_RECORDS, settings.retention_audit_days),
        )
    ]


def _delete(rows: AgedRows, before: datetime) -> JobStep:
    return JobStep(
        rows.name,
        lambda conn, _: retention.delete_aged(conn, rows, before),
        lambda conn: retention.count_aged(conn, rows, before),
    )
