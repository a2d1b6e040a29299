"""Run a scheduled job: not beside what excludes it, within its deadline, and recorded."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from services.scheduler.answers import say
from services.scheduler.run_job import JobFailed
from shared.domain.schedule import BY_NAME, Job
from shared.process import crash_points
from shared.settings.groups import DatabaseSettings
from shared.store import job_runs
from shared.store.errors import is_infrastructure
from shared.store.job_runs import JobOutcome
from shared.store.pool import ACQUIRE_SECONDS, Pool, open_pool, transaction

log = structlog.get_logger()

#: How long one statement of a job may take, where the job allows it more than the services'.
COMMAND_SECONDS = 660.0
#: The server notices within a minute that a job's machine is gone, and frees its lock.
_KEEPALIVE = (
    "SELECT set_config('tcp_keepalives_idle', '30', false),"
    " set_config('tcp_keepalives_interval', '10', false),"
    " set_config('tcp_keepalives_count', '3', false)"
)


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run of a job: its handles to PostgreSQL, and what it has counted so far."""

    pool: Pool
    counts: Counter[str] = field(default_factory=Counter)


JobWork = Callable[[JobRun], Awaitable[None]]


async def run_scheduled(
    name: str, settings: DatabaseSettings, work: JobWork, *, dry_run: bool = False
) -> None:
    """Run `work` as the job `name`, and record the run and its counts.

    If another run excludes it, end at once and say so: that is no failure. A dry run changes
    nothing: it excludes nobody and is not recorded. Raise JobFailed if the job is stopped, or not
    done within its deadline: what it has done stays done.
    """
    job = BY_NAME[name]
    crash_points.arm(settings.crash_at)
    url = settings.database_url.get_secret_value()
    with _sigterm() as stop:
        async with open_pool(url, name=name, size=2, command_seconds=COMMAND_SECONDS) as pool:
            run = JobRun(pool)
            if dry_run:
                await _within_deadline(job, work(run), stop)
            else:
                async with _locked(pool, job) as is_ours:
                    if not is_ours:
                        log.info("job.already_running", job=name)
                        say(f"{name} runs already, or what it must not run beside: nothing done.")
                        return
                    await _run_recorded(job, work, run, stop)
        for kind, count in run.counts.items():
            log.info("job.counted", job=name, kind=kind, count=count)
        log.info("job.dry_run" if dry_run else "job.done", job=name)
        say(_sentence(name, run.counts, dry_run=dry_run))


def _sentence(name: str, counts: Mapping[str, int], *, dry_run: bool) -> str:
    counted = [f"{kind.replace('_', ' ')} {count:,}" for kind, count in counts.items() if count]
    found = ", ".join(counted) or "there was nothing to do"
    return f"{name} {'would count' if dry_run else 'is done'}: {found}."


@contextmanager
def _sigterm() -> Iterator[asyncio.Event]:
    """Give the event that SIGTERM sets, from before a run is recorded until its end is recorded."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@asynccontextmanager
async def _locked(pool: Pool, job: Job) -> AsyncIterator[bool]:
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn:  # the lock is the session's
        await conn.execute(_KEEPALIVE)
        yield await job_runs.try_lock(conn, job)


async def _run_recorded(job: Job, work: JobWork, run: JobRun, stop: asyncio.Event) -> None:
    async with transaction(run.pool) as conn:
        run_id = await job_runs.start(conn, job)
    outcome: JobOutcome = "failed"
    try:
        await _within_deadline(job, work(run), stop)
        outcome = "succeeded"
    except _TimedOut:
        outcome = "timed_out"
        raise
    except _Stopped:
        outcome = "stopped"
        raise
    finally:
        await _record_end(run, run_id, outcome)


async def _record_end(run: JobRun, run_id: UUID, outcome: JobOutcome) -> None:
    try:
        async with transaction(run.pool) as conn:
            await job_runs.end(conn, run_id, outcome, run.counts)
    except Exception as error:
        if outcome == "succeeded" or not is_infrastructure(error):
            raise
        log.warning("job.not_recorded", outcome=outcome, exc_info=error)  # the failure is raised


class _TimedOut(JobFailed):
    pass


class _Stopped(JobFailed):
    pass


async def _within_deadline(job: Job, work: Awaitable[None], stop: asyncio.Event) -> None:
    """Run `work` until it ends, the deadline is over or `stop` is set. Cancel it then."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    seconds = job.deadline.total_seconds()
    try:
        await asyncio.wait({working, stopping}, timeout=seconds, return_when="FIRST_COMPLETED")
    finally:
        stopping.cancel()
        working.cancel()  # does nothing if it has ended
        await asyncio.wait({working, stopping})
    if not working.cancelled():
        return working.result()
    if stop.is_set():
        raise _Stopped("stopped by SIGTERM: what was done stays done")
    raise _TimedOut(f"not done within {seconds / 60:.0f} minutes: what was done stays done")
