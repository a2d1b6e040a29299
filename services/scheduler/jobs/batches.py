"""Run the steps of a job in bounded batches, with pauses in which the services come first."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_incrementing

from services.scheduler.run_scheduled import JobRun
from shared.process.crash_points import crash_point
from shared.store.errors import is_infrastructure
from shared.store.pool import Conn, Pool, transaction
from shared.store.retention import Batch, Position

log = structlog.get_logger()

#: The pause after a batch that changed something: about a fifth of what it takes.
PAUSE_SECONDS = 0.01
#: Attempts of one batch.
MAX_ATTEMPTS = 5
#: How long the count of a dry run may take.
COUNT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class JobStep:
    """A step of a job: `do` does one batch, from a position on; `count` counts what it would do."""

    name: str
    do: Callable[[Conn, Position | None], Awaitable[Batch]]
    count: Callable[[Conn], Awaitable[Mapping[str, int]]]


async def run_steps(
    run: JobRun, steps: Sequence[JobStep], budget: timedelta, *, dry_run: bool
) -> None:
    """Run the steps until each is finished, or its share of the budget is spent: what one leaves
    over, the others get. A step that is not finished goes on in the next run. With `dry_run`, only
    count what they would do."""
    if dry_run:
        await _count_steps(run, steps)
        return
    until = time.monotonic() + budget.total_seconds()
    for index, step in enumerate(steps):
        now = time.monotonic()
        share = (until - now) / (len(steps) - index)
        if not await _run_step(run, step, until=now + share):
            run.counts["unfinished_steps"] += 1
            log.warning("job.budget_spent", kind=step.name)


async def _count_steps(run: JobRun, steps: Sequence[JobStep]) -> None:
    for step in steps:
        async with transaction(run.pool) as conn:
            await conn.execute(
                "SELECT set_config('statement_timeout', $1, true),"
                " set_config('transaction_read_only', 'on', true)",
                f"{COUNT_SECONDS}s",
            )
            run.counts.update(await step.count(conn))


async def _run_step(run: JobRun, step: JobStep, *, until: float) -> bool:
    """Return whether the step is finished."""
    after: Position | None = None
    while time.monotonic() < until:
        batch: Batch = await until_done("job.interrupted", step.name)(_do, run.pool, step, after)
        run.counts.update(batch.counts)
        if batch.reached is None:
            return True
        after = batch.reached
        if any(batch.counts.values()):
            await asyncio.sleep(PAUSE_SECONDS)
    return False


async def _do(pool: Pool, step: JobStep, after: Position | None) -> Batch:
    async with transaction(pool) as conn:
        batch = await step.do(conn, after)
        crash_point("batch.done")
    crash_point("batch.committed")
    return batch


def until_done(event: str, kind: str) -> AsyncRetrying:
    """Return the policy for a batch of `kind` that was interrupted, such as by a deadlock with a
    service: `event` is then logged."""
    return AsyncRetrying(
        retry=retry_if_exception(is_infrastructure),
        wait=wait_incrementing(start=1, increment=1),
        stop=stop_after_attempt(MAX_ATTEMPTS),
        before_sleep=lambda state: log.warning(
            event,
            kind=kind,
            attempt=state.attempt_number,
            exc_info=state.outcome and state.outcome.exception(),
        ),
        reraise=True,
    )
