"""Start the scheduled jobs at their times, where no Kubernetes does: `porteiro serve-schedule`."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from contextlib import AsyncExitStack, suppress
from datetime import datetime, tzinfo

import structlog

from shared.domain.schedule import JOBS, Job
from shared.errors import StartupRefused
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.lifecycle import Stop, running
from shared.process.metrics import open_registry
from shared.settings.groups import DatabaseSettings, ProcessSettings, ScheduleSettings
from shared.settings.load import load
from shared.store import job_runs
from shared.store.pool import Pool, now, open_pool, ping, transaction

log = structlog.get_logger()

#: How often it looks what is due.
CHECK_SECONDS = 10.0
#: How long a job may take to end after it was told to, at its deadline or at a stop.
GRACE_SECONDS = 15.0


class ServeScheduleSettings(ProcessSettings, DatabaseSettings, ScheduleSettings):
    pass


class Scheduler:
    """Start jobs that are due, each in a process of its own.

    What is due is decided by PostgreSQL's clock and by the recorded runs, so restarts and several
    schedulers at once do no harm: a run that was started at its time is not started again.
    """

    def __init__(self, pool: Pool, zone: tzinfo) -> None:
        self._pool = pool
        self._zone = zone
        #: The last time at which this process started each job. A run that fails before it is
        #: recorded is not repeated either.
        self._started: dict[str, datetime] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look every CHECK_SECONDS what is due, for ever. Without PostgreSQL nothing can run."""
        failure: type[Exception] | None = None
        while True:
            try:
                await self.start_due()
                failure = None
            except StartupRefused:
                raise
            except Exception as error:
                if type(error) is not failure:
                    log.warning("schedule.interrupted", exc_info=error)
                failure = type(error)
            await asyncio.sleep(CHECK_SECONDS)

    async def start_due(self) -> None:
        """Start each job that is due and does not run."""
        async with transaction(self._pool) as conn:
            at = await now(conn)
            recorded = job_runs.last_starts(await job_runs.history(conn))
        for job in JOBS:
            last = max(
                filter(None, (recorded[job.name], self._started.get(job.name))), default=None
            )
            is_running = job.name in self._running and not self._running[job.name].done()
            if not is_running and job.is_due(at, last, self._zone):
                self._started[job.name] = at
                self._running[job.name] = asyncio.ensure_future(_run(job))

    async def stop(self) -> None:
        """Tell the running jobs to stop, and wait for them."""
        tasks = [task for task in self._running.values() if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _run(job: Job) -> None:
    """Run the job's command to its end. Stop it if it does not end itself at its deadline."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", job.name,
        start_new_session=True,  # Ctrl-C in a terminal must reach only us, and we stop the jobs
    )  # fmt: skip
    log.info("schedule.started", job=job.name, pid=process.pid)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), job.deadline.total_seconds() + GRACE_SECONDS)
    finally:
        if process.returncode is None:
            await _stop(process)
        level = log.info if process.returncode == 0 else log.error
        level("schedule.ended", job=job.name, outcome=process.returncode)


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def serve(stop: Stop) -> None:
    settings = load(ServeScheduleSettings)
    crash_points.arm(settings.crash_at)
    registry = open_registry()
    health = Health(registry)
    database = health.dependency("database", settings.database_url)
    health.needs = [[database]]
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url.get_secret_value(), name="serve-schedule", size=2)
        )
        await stack.enter_async_context(running(database.watch(lambda: ping(pool)), stop))
        scheduler = Scheduler(pool, settings.zone)
        stack.push_async_callback(scheduler.stop)
        await stack.enter_async_context(running(scheduler.run(), stop))
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("schedule.serving", environment=settings.environment)
        await stop.wait()
