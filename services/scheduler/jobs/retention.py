"""Delete what is older than promised: events, webhooks, letters, and people's messages in them."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from services.scheduler.jobs.batches import JobStep, run_steps
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.actions import letter_replays
from shared.settings.load import load
from shared.settings.retention import RetentionSettings
from shared.store import retention
from shared.store.intake import dead_letters
from shared.store.pool import now, transaction

#: Shorter than the deadline: a run that has much to do ends in good order, and goes on in an hour.
BUDGET = timedelta(minutes=45)


async def retain(*, dry_run: bool) -> None:
    """Settle and delete what is older than the settings say. Nothing unsettled is deleted.

    Safe to stop at any moment and to repeat.
    """
    settings = load(RetentionSettings)
    await run_scheduled(
        "retention", settings, partial(_retain, settings, dry_run=dry_run), dry_run=dry_run
    )


async def _retain(settings: RetentionSettings, run: JobRun, *, dry_run: bool) -> None:
    await run_steps(run, await _steps(settings, run), BUDGET, dry_run=dry_run)


async def _steps(settings: RetentionSettings, run: JobRun) -> Sequence[JobStep]:
    """Return the steps in this order: what one settles, a later one deletes, and what is little
    leaves its share of the budget to what is much."""
    async with transaction(run.pool) as conn:
        at = await now(conn)
    died_before = at - timedelta(days=settings.retention_letter_days)
    published_before = at - timedelta(days=settings.retention_event_days)
    received_before = at - timedelta(days=settings.retention_log_days)
    orphans_before = at - timedelta(days=settings.retention_orphan_days)
    closed_before = at - timedelta(days=settings.retention_done_days)
    return (
        JobStep(
            "letters",
            lambda conn, _: letter_replays.discard_old(
                conn, died_before, days=settings.retention_letter_days
            ),
            lambda conn: dead_letters.count_old(conn, died_before),
        ),
        JobStep(
            "closed_letters",
            lambda conn, _: retention.delete_aged(conn, retention.CLOSED_LETTERS, closed_before),
            lambda conn: retention.count_aged(conn, retention.CLOSED_LETTERS, closed_before),
        ),
        JobStep(
            "events",
            lambda conn, after: retention.delete_events(conn, published_before, after),
            lambda conn: retention.count_events(conn, published_before),
        ),
        JobStep(
            "webhooks",
            lambda conn, after: retention.delete_webhooks(
                conn, received_before, orphans_before, after
            ),
            lambda conn: retention.count_webhooks(conn, received_before, orphans_before),
        ),
    )
