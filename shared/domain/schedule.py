"""The scheduled jobs: when each runs, for how long at most, and beside what it must not run.

Each name is a command of `porteiro`, and each row a CronJob in deploy/k8s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from cronsim import CronSim

#: The zone of the cron lines, unless SCHEDULE_TIME_ZONE is set.
TIME_ZONE = "America/Sao_Paulo"


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled job.

    A run that has not ended after `deadline` is stopped. A run that could not start at its time is
    started until `start_within` is over, and then missed. `never_beside` names the jobs whose runs
    exclude it; itself too, unless two runs at once are harmless and useful.
    """

    name: str
    cron: str
    deadline: timedelta
    start_within: timedelta
    never_beside: Sequence[str]

    def last_due(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the last time, `now` or before, at which it was to start."""
        just_after = now + timedelta(microseconds=1)
        return next(CronSim(self.cron, just_after.astimezone(zone), reverse=True))

    def next_due(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the first time after `now` at which it is to start."""
        return next(CronSim(self.cron, now.astimezone(zone)))

    def is_due(self, now: datetime, last_start: datetime | None, zone: tzinfo) -> bool:
        """Return whether a run is to be started now, if the last one was started at that time."""
        due_at = self.last_due(now, zone)
        is_missed = now - due_at > self.start_within
        return not is_missed and (last_start is None or last_start < due_at)

    def is_overdue(self, now: datetime, last_success: datetime | None, zone: tzinfo) -> bool:
        """Return whether a run should have ended by now, and none has succeeded since it was due.

        `last_success` is when the last run that succeeded was started; if none has, when the jobs
        were installed.
        """
        due_at = self.last_due(now - self.start_within - self.deadline, zone)
        return last_success is None or last_success < due_at


def _job(name: str, cron: str, *, minutes: int, start_within: int) -> Job:
    return Job(
        name,
        cron,
        timedelta(minutes=minutes),
        timedelta(minutes=start_within),
        never_beside=(name,),
    )


#: What runs rarely may start late: hours after its time is better than the next day.
JOBS: Sequence[Job] = (
    # It changes no row itself, so two at once do no harm.
    Job("retry-sweep", "*/5 * * * *", timedelta(minutes=3), timedelta(minutes=4), never_beside=()),
    _job("retention", "20 * * * *", minutes=50, start_within=30),
    _job("cleanup", "0 0 * * *", minutes=30, start_within=360),
    _job("token-health", "0 2 * * *", minutes=10, start_within=360),
    _job("backup", "20 4 * * *", minutes=240, start_within=720),
    _job("restore-drill", "20 9 * * 0", minutes=480, start_within=1440),
    _job("partitions", "40 3 * * *", minutes=60, start_within=720),
)
BY_NAME = {job.name: job for job in JOBS}
