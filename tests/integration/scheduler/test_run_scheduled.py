"""A run of a job is recorded, has a deadline, and excludes others; `porteiro jobs` lists it."""

import asyncio
import json
import os
import signal
from datetime import timedelta

import pytest
from pytest import MonkeyPatch

from services.scheduler.run_job import JobFailed
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.domain.schedule import BY_NAME, JOBS, Job
from shared.settings.groups import DatabaseSettings
from shared.settings.load import load
from shared.store import job_runs
from shared.store.pool import Conn, Pool
from tests.support.command_line import porteiro
from tests.support.processes import start
from tests.support.waiting import eventually

NAME = "partitions"
RUNS = "SELECT outcome::text, ended_at IS NOT NULL AS ended, counts FROM job_runs ORDER BY id"


async def outcomes(conn: Conn) -> list[str | None]:
    return [record["outcome"] for record in await conn.fetch(RUNS)]


async def nothing(run: JobRun) -> None:
    run.counts["seen"] += 3


async def failing(run: JobRun) -> None:
    run.counts["seen"] += 1
    raise JobFailed("something is missing")


async def endless(_: JobRun) -> None:
    await asyncio.Event().wait()


async def test_a_run_and_its_counts_are_recorded(environment: dict[str, str], conn: Conn) -> None:
    await run_scheduled(NAME, load(DatabaseSettings), nothing)
    with pytest.raises(JobFailed, match="something is missing"):
        await run_scheduled(NAME, load(DatabaseSettings), failing)
    rows = [tuple(record) for record in await conn.fetch(RUNS)]
    assert rows == [("succeeded", True, '{"seen": 3}'), ("failed", True, '{"seen": 1}')]


async def test_a_dry_run_is_not_recorded_and_excludes_nobody(
    environment: dict[str, str], conn: Conn
) -> None:
    assert await job_runs.try_lock(conn, BY_NAME[NAME])
    await run_scheduled(NAME, load(DatabaseSettings), nothing, dry_run=True)
    assert await outcomes(conn) == []


async def test_a_second_run_ends_at_once_and_says_so(
    environment: dict[str, str], conn: Conn
) -> None:
    assert await job_runs.try_lock(conn, BY_NAME[NAME])
    code, log = await porteiro(NAME)
    assert (code, '"event":"job.already_running"' in log) == (0, True), log
    assert await outcomes(conn) == []
    await conn.execute("SELECT pg_advisory_unlock_all()")


async def test_a_run_is_stopped_at_its_deadline(
    environment: dict[str, str], conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    brief = Job(NAME, "0 0 * * *", timedelta(seconds=0.2), timedelta(0), (NAME,))
    monkeypatch.setitem(BY_NAME, NAME, brief)
    with pytest.raises(JobFailed, match="what was done stays done"):
        await run_scheduled(NAME, load(DatabaseSettings), endless)
    assert await outcomes(conn) == ["timed_out"]


async def test_sigterm_stops_a_run(environment: dict[str, str], conn: Conn) -> None:
    running = asyncio.ensure_future(run_scheduled(NAME, load(DatabaseSettings), endless))
    await eventually(lambda: outcomes(conn))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(JobFailed, match="stopped by SIGTERM"):
        await running
    assert await outcomes(conn) == ["stopped"]


async def waits_in(conn: Conn, statement: str) -> bool:
    """Return whether a session of the job waits for a lock in the statement."""
    return bool(
        await conn.fetchval(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = $1"
            " AND wait_event_type = 'Lock' AND query LIKE $2",
            NAME,
            f"%{statement}%",
        )
    )


async def test_sigterm_while_the_start_is_recorded_stops_the_run(
    environment: dict[str, str], pool: Pool, conn: Conn
) -> None:
    async with conn.transaction():
        await conn.execute("LOCK TABLE job_runs IN EXCLUSIVE MODE")
        process = await start("services.scheduler", NAME, env=environment)
        async with pool.acquire() as other:
            await eventually(lambda: waits_in(other, "outcome = 'lost'"), seconds=30)
        process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, b"stopped by SIGTERM" in output) == (1, True), output
    assert await outcomes(conn) == ["stopped"]


async def test_sigterm_while_the_end_is_recorded_changes_nothing(
    environment: dict[str, str], pool: Pool, conn: Conn
) -> None:
    async def locked(_: JobRun) -> None:
        await conn.execute("LOCK TABLE job_runs IN EXCLUSIVE MODE")

    transaction = conn.transaction()
    await transaction.start()
    running = asyncio.ensure_future(run_scheduled(NAME, load(DatabaseSettings), locked))
    async with pool.acquire() as other:
        await eventually(lambda: waits_in(other, "SET ended_at = now(), outcome = $2"))
    # Without a handler SIGTERM ends the tests: this one is only sent if it does not.
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)  # the handler runs
    await transaction.rollback()
    await asyncio.wait_for(running, 30)
    assert await outcomes(conn) == ["succeeded"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_run_whose_process_was_lost_is_seen_by_the_next(
    environment: dict[str, str], conn: Conn
) -> None:
    deadline = BY_NAME[NAME].deadline
    for ago in (deadline * 2, deadline / 2):
        await conn.execute(
            "INSERT INTO job_runs (id, job, started_at)"
            " VALUES (gen_random_uuid(), $1, now() - $2::interval)",
            NAME,
            ago,
        )
    await run_scheduled(NAME, load(DatabaseSettings), nothing)
    rows = await conn.fetch("SELECT outcome::text FROM job_runs ORDER BY started_at")
    assert [record["outcome"] for record in rows] == ["lost", None, "succeeded"]


async def test_the_jobs_are_listed_within_80_columns(
    environment: dict[str, str], conn: Conn
) -> None:
    await run_scheduled(NAME, load(DatabaseSettings), nothing)
    code, shown = await porteiro("jobs", COLUMNS="80")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80, shown
    assert all(job.name in shown for job in JOBS)
    assert "America/Sao_Paulo" in shown
    code, shown = await porteiro("jobs", "--json", SCHEDULE_TIME_ZONE="UTC")
    by_name = {row["job"]: row for row in json.loads(shown)}
    assert list(by_name) == [job.name for job in JOBS]
    done, never = by_name[NAME], by_name["restore-drill"]
    assert (done["last_run"], done["overdue"], done["last_success"] is None) == (
        "succeeded", False, False
    )  # fmt: skip
    assert (never["last_run"], never["overdue"], never["last_success"]) == (
        "not due yet", False, None
    )  # fmt: skip
    assert done["next_run"].endswith("T03:40:00Z")


async def test_what_never_ran_is_overdue_once_it_was_due_since_the_installation(
    environment: dict[str, str], conn: Conn
) -> None:
    async def states() -> dict[str, tuple[str, bool]]:
        _, shown = await porteiro("jobs", "--json")
        return {row["job"]: (row["last_run"], row["overdue"]) for row in json.loads(shown)}

    assert set((await states()).values()) == {("never ran", True)}  # nobody has migrated
    assert (await porteiro("migrate"))[0] == 0
    assert set((await states()).values()) == {("not due yet", False)}
    await conn.execute("UPDATE job_runs SET started_at = started_at - interval '3 hours'")
    found = await states()
    assert found["retry-sweep"] == found["retention"] == ("never ran", True)
    assert found["restore-drill"] == ("not due yet", False)


async def test_a_zone_that_does_not_exist_is_refused(environment: dict[str, str]) -> None:
    code, log = await porteiro("jobs", SCHEDULE_TIME_ZONE="America/Sao_Paolo")
    assert (code, "SCHEDULE_TIME_ZONE is malformed" in log) == (78, True), log
