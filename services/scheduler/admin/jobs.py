"""The command that lists the scheduled jobs."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from services.scheduler.admin.tables import Columns, print_list
from shared.domain.schedule import BY_NAME
from shared.settings.groups import DatabaseSettings, ScheduleSettings
from shared.settings.load import load
from shared.store import job_runs
from shared.store.job_runs import JobHistory, JobOutcome
from shared.store.pool import now, open_pool, transaction

JobState = Literal["running", "not due yet", "never ran"] | JobOutcome


class JobListSettings(DatabaseSettings, ScheduleSettings):
    pass


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A scheduled job as an operator sees it. `overdue`: it should have succeeded by now."""

    job: str
    schedule: str
    state: JobState
    last_success: datetime | None
    next_run: datetime
    is_overdue: bool


async def list_jobs(*, as_json: bool) -> None:
    settings = load(JobListSettings)
    url = settings.database_url.get_secret_value()
    async with open_pool(url, name="porteiro", size=1) as pool, transaction(pool) as conn:
        at = await now(conn)
        since = await job_runs.first_start(conn)
        rows = [
            _status(history, at, since, settings.zone) for history in await job_runs.history(conn)
        ]
    columns: Columns[JobStatus] = {
        "job": lambda row: row.job,
        "last run": lambda row: row.state,
        "last success": lambda row: _local(row.last_success, settings.zone),
        "next run": lambda row: _local(row.next_run, settings.zone),
        "overdue": lambda row: row.is_overdue,
        "schedule": lambda row: row.schedule,
    }
    zone = settings.schedule_time_zone
    print_list(f"Scheduled jobs ({zone})", columns, rows, as_json=as_json)


def _status(history: JobHistory, at: datetime, since: datetime | None, zone: tzinfo) -> JobStatus:
    """`since`: a run that was due before then was not expected."""
    job = BY_NAME[history.job]
    is_overdue = job.is_overdue(at, history.success_started_at or since, zone)
    state: JobState = history.outcome or "running"
    if history.started_at is None:
        state = "never ran" if is_overdue else "not due yet"
    return JobStatus(
        job=job.name,
        schedule=job.cron,
        state=state,
        last_success=history.succeeded_at,
        next_run=job.next_due(at, zone),
        is_overdue=is_overdue,
    )


def _local(at: datetime | None, zone: tzinfo) -> datetime | None:
    return None if at is None else at.astimezone(zone)
