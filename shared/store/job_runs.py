"""Runs of the scheduled jobs: when each started and ended, its outcome, and what it counted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.domain.schedule import JOBS, Job
from shared.store.pool import Conn

#: `stopped`: by a signal. `lost`: its process ended without a word, or the run could not be
#: recorded; only seen once its deadline is over.
JobOutcome = Literal["succeeded", "failed", "timed_out", "stopped", "lost"]


async def try_lock(conn: Conn, job: Job) -> bool:
    """Return whether this session may run the job now. Then no other session may, until it ends."""
    return bool(
        await conn.fetchval(
            """
            SELECT coalesce(bool_and(pg_try_advisory_lock(hashtext('porteiro job ' || name))), true)
            FROM unnest($1::text[]) AS name
            """,
            sorted(job.never_beside),
        )
    )


async def start(conn: Conn, job: Job) -> UUID:
    """Record that a run starts. Return its id. Mark earlier runs as lost that never ended."""
    await conn.execute(
        """
        UPDATE job_runs SET ended_at = now(), outcome = 'lost'
        WHERE job = $1 AND outcome IS NULL AND started_at < now() - $2::interval
        """,
        job.name,
        job.deadline,
    )
    id_: UUID = uuid7()
    await conn.execute("INSERT INTO job_runs (id, job) VALUES ($1, $2)", id_, job.name)
    return id_


async def record_migration(conn: Conn) -> None:
    """Record that the schema was migrated. The first time, it was installed then: `first_start`."""
    await conn.execute(
        """
        INSERT INTO job_runs (id, job, ended_at, outcome) VALUES ($1, 'migrate', now(), 'succeeded')
        """,
        uuid7(),
    )


async def first_start(conn: Conn) -> datetime | None:
    """Return when the oldest run that is kept was started: then the jobs were to run already."""
    at: datetime | None = await conn.fetchval("SELECT min(started_at) FROM job_runs")
    return at


async def end(conn: Conn, run_id: UUID, outcome: JobOutcome, counts: Mapping[str, int]) -> None:
    await conn.execute(
        """
        UPDATE job_runs SET ended_at = now(), outcome = $2, counts = $3::jsonb WHERE id = $1
        """,
        run_id,
        outcome,
        json.dumps(counts),
    )


@dataclass(frozen=True, slots=True)
class JobHistory:
    """The last run of a job, and the last one that succeeded; None for what never was.

    `succeeded_at` is when that one ended, `success_started_at` when it was started. `outcome` is
    also None while the run goes on.
    """

    job: str
    started_at: datetime | None
    outcome: JobOutcome | None
    success_started_at: datetime | None
    succeeded_at: datetime | None
    counts: Mapping[str, int]


async def history(conn: Conn) -> list[JobHistory]:
    """Return the history of each scheduled job, in the order of JOBS."""
    records = await conn.fetch(
        """
        SELECT name AS job, last.started_at, last.outcome, coalesce(last.counts, '{}') AS counts,
               success.started_at AS success_started_at, success.ended_at AS succeeded_at
        FROM unnest($1::text[]) WITH ORDINALITY AS scheduled (name, place)
            LEFT JOIN LATERAL (
                SELECT * FROM job_runs WHERE job = name ORDER BY started_at DESC LIMIT 1
            ) AS last ON true
            LEFT JOIN LATERAL (
                SELECT * FROM job_runs WHERE job = name AND outcome = 'succeeded'
                ORDER BY started_at DESC LIMIT 1
            ) AS success ON true
        ORDER BY place
        """,
        [job.name for job in JOBS],
    )
    rows = [dict(record) for record in records]
    return [JobHistory(**row | {"counts": json.loads(row["counts"])}) for row in rows]


def last_starts(histories: Sequence[JobHistory]) -> dict[str, datetime | None]:
    return {history.job: history.started_at for history in histories}
