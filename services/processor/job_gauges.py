"""Show how the scheduled jobs do, which run too briefly to be scraped themselves."""

import math
import time
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from shared.domain.schedule import JOBS
from shared.store import job_runs
from shared.store.intake import partitions
from shared.store.pool import Pool, now, transaction


class JobGauges:
    """Read from PostgreSQL once a minute when each job last succeeded."""

    def __init__(self, pool: Pool, registry: CollectorRegistry) -> None:
        self._pool = pool
        self._last_success: dict[str, float] = {}
        ages = Gauge(
            "porteiro_job_success_age_seconds",
            "Since the job last succeeded, or was installed; infinite while that is not known",
            ["job"],
            registry=registry,
        )
        for job in JOBS:
            ages.labels(job.name).set_function(partial(self._age, job.name))
        self._days_ahead = Gauge(
            "porteiro_partition_days_ahead",
            "Coming days for which there is a partition of the bodies; alarming below 7",
            registry=registry,
        )
        self._days_ahead.set(math.nan)

    async def work_once(self) -> bool:
        """Read once. Return False: there is never more to do at once."""
        async with transaction(self._pool) as conn:
            at = await now(conn)
            histories = await job_runs.history(conn)
            since = await job_runs.first_start(conn)
            self._days_ahead.set(await partitions.days_ahead(conn, at.date()))
        for history in histories:
            if last := history.succeeded_at or since:
                age = (at - last).total_seconds()
                self._last_success[history.job] = time.monotonic() - age
        return False

    def _age(self, job: str) -> float:
        """Grows between two reads too, and while PostgreSQL is away."""
        return time.monotonic() - self._last_success.get(job, -math.inf)
