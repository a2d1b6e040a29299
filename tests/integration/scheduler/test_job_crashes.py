"""A job that is run twice at once, or killed at any point and run again, ends in the same state."""

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.crypto import KeyRing
from shared.domain.schedule import JOBS
from shared.store.pool import Conn
from tests.support.aged import FATES, store
from tests.support.backups import backup_settings
from tests.support.command_line import porteiro
from tests.support.crash_points import points

#: What the jobs leave behind, whatever happens on their way.
STATE = """
    SELECT (SELECT count(*) FROM webhook_log), (SELECT count(*) FROM webhook_changes),
           (SELECT count(*) FROM webhook_changes WHERE content IS NOT NULL),
           (SELECT count(*) FROM events),
           (SELECT count(*) FROM dead_letters WHERE closed_at IS NULL),
           (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM audit_log),
           (SELECT count(*) FROM whatsapp_onboarding WHERE state = 'expired'),
           (SELECT count(*) FROM unsettled_bodies),
           (SELECT count(*) FROM pg_inherits WHERE inhparent = 'webhook_bodies'::regclass)
"""
#: Which job passes a crash point.
JOB_OF = {"backup": "backup", "batch": "retention", "partitions": "partitions"}
NOW = datetime.now(UTC)


@pytest.fixture
async def aged(
    environment: dict[str, str],
    conn: Conn,
    ring: KeyRing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Conn:
    """Webhooks of every fate, whose bodies lie in partitions of 40 and of 20 days ago."""
    for name, value in backup_settings(tmp_path, environment["DATABASE_URL"]).items():
        monkeypatch.setenv(name, value)
    days = await conn.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'webhook_bodies'::regclass AND inhrelid::regclass::text !~ 'default'"
    )
    for day in days:  # of the test before
        await conn.execute(f"DROP TABLE {day['name']}")
    for received in (40, 20):
        for fate in FATES:
            await store(conn, ring, fate, received=received, since=min(received, 31))
    await conn.execute("INSERT INTO organizations (id) VALUES ('ana') ON CONFLICT DO NOTHING")
    await conn.execute(
        "INSERT INTO whatsapp_onboarding (id, organization_id, expires_at)"
        " SELECT gen_random_uuid(), 'ana', now() FROM generate_series(1, 5)"
    )
    return conn


async def state(conn: Conn) -> tuple[int, ...]:
    record = await conn.fetchrow(STATE)
    assert record is not None
    return tuple(record)


#: The sweep would find rows that are overdue, and nobody who works on them.
ALONE = [job.name for job in JOBS if job.name != "retry-sweep"]


@pytest.mark.parametrize("job", ALONE)
async def test_twice_at_once_ends_like_once(aged: Conn, job: str) -> None:
    if job == "restore-drill":
        assert (await porteiro("backup"))[0] == 0
    codes = await asyncio.gather(*(porteiro(job) for _ in range(2)))
    assert [code for code, _ in codes] == [0, 0], codes
    once = await state(aged)
    assert (await porteiro(job))[0] == 0
    assert await state(aged) == once
    if job == "retention":
        assert once[:7] == (15, 12, 10, 2, 2, 4, 2)
    if job == "cleanup":
        assert once[7] == 5


async def test_two_sweeps_at_once_are_no_failure(environment: dict[str, str]) -> None:
    codes = await asyncio.gather(*(porteiro("retry-sweep") for _ in range(2)))
    assert [code for code, _ in codes] == [0, 0], codes


@pytest.mark.parametrize("point", sorted(points("jobs")))
@pytest.mark.parametrize("time", [1, 2])
async def test_a_job_killed_at_a_point_and_run_again_ends_like_one_that_was_not(
    aged: Conn, point: str, time: int, ring: KeyRing
) -> None:
    job = JOB_OF[point.partition(".")[0]]
    code, log = await porteiro(job, CRASH_AT=f"{point}:{time}")
    if time == 2 and job != "retention":  # it passes the point once
        assert code == 0, log
    else:
        assert code == -signal.SIGKILL, log
    code, log = await porteiro(job)
    assert code == 0, log
    ended = await state(aged)
    assert (await porteiro(job))[0] == 0
    assert await state(aged) == ended
    if job == "retention":
        assert ended[:7] == (15, 12, 10, 2, 2, 4, 2), "each letter was audited once"
    elif job == "partitions":
        assert ended[8:] == (5, 1 + 14 + 1)
