"""The processor shows how long ago each job succeeded, and how many days have partitions ahead."""

import math
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from services.processor.job_gauges import JobGauges
from shared.domain.schedule import JOBS
from shared.store.intake import partitions
from shared.store.pool import Conn, Pool

AGE, AHEAD = "porteiro_job_success_age_seconds", "porteiro_partition_days_ahead"


def age(registry: CollectorRegistry, job: str) -> float:
    value = registry.get_sample_value(AGE, {"job": job})
    assert value is not None
    return value


async def add_run(conn: Conn, job: str, outcome: str, ago: timedelta) -> None:
    await conn.execute(
        "INSERT INTO job_runs (id, job, started_at, ended_at, outcome)"
        " VALUES (gen_random_uuid(), $1, now() - $2::interval - interval '1 minute',"
        " now() - $2::interval, $3::job_outcome)",
        job,
        ago,
        outcome,
    )


async def test_the_age_is_of_the_last_run_that_succeeded(pool: Pool, conn: Conn) -> None:
    await add_run(conn, "cleanup", "succeeded", timedelta(hours=30))
    await add_run(conn, "cleanup", "failed", timedelta(hours=6))
    await add_run(conn, "retention", "succeeded", timedelta(hours=2))
    await add_run(conn, "retention", "succeeded", timedelta(hours=1))
    await add_run(conn, "partitions", "failed", timedelta(hours=1))
    registry = CollectorRegistry()
    gauges = JobGauges(pool, registry)
    assert all(age(registry, job.name) == math.inf for job in JOBS)
    assert await gauges.work_once() is False
    assert round(age(registry, "cleanup") / 3600) == 30
    assert round(age(registry, "retention") / 3600) == 1
    # It never did: since the oldest run there is, which shows that the jobs were installed then.
    assert round(age(registry, "partitions") / 3600) == 30
    assert age(registry, "cleanup") < age(registry, "cleanup")  # it grows between two reads


async def test_the_days_ahead_are_counted_up_to_the_first_gap(pool: Pool, conn: Conn) -> None:
    registry = CollectorRegistry()
    gauges = JobGauges(pool, registry)
    today = datetime.now(UTC).date()
    await partitions.add_ahead(conn, today)
    await gauges.work_once()
    assert registry.get_sample_value(AHEAD) == 14
    gap = partitions.partition_name(today + timedelta(days=5))
    await conn.execute(f"DROP TABLE {gap}")
    await gauges.work_once()
    assert registry.get_sample_value(AHEAD) == 4
    await partitions.add_ahead(conn, today)
