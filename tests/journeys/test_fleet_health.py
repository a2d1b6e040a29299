"""A whole fleet is checked within a day: within Meta's limits, and through Meta's own failures.

FLEET is its size; `make prove` uses 5,000.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import structlog
from yarl import URL

from shared.store.pool import Conn, Pool
from tests.support.fleet import DAY, STRIDE, connect_fleet, open_fleet, waba_id
from tests.support.onboarding_setup import Installation, open_bare_installation
from tests.support.processes import service
from tests.support.simulated import SimulatedMeta, number, simulated_meta
from tests.support.waiting import eventually

SIZE = int(os.environ.get("FLEET", "250"))
HOUR = timedelta(hours=1)
ALWAYS = 10**9


@pytest.fixture
async def meta(environment: dict[str, str]) -> AsyncIterator[SimulatedMeta]:
    async with simulated_meta(port=URL(environment["META_GRAPH_URL"]).port or 0) as meta:
        yield meta


async def limit_app(meta: SimulatedMeta, calls: int) -> None:
    assert "error" not in await meta.order("PUT", "limits", {"app_calls": calls})


@pytest.mark.timeout(3600)
async def test_a_day_of_checks_keeps_the_apps_limit_and_holds_up_no_onboarding(
    installation: Installation, pool: Pool, redis_url: str
) -> None:
    """208 checks are due an hour, each of a token that Meta was never asked about, and the app has
    200 calls an hour. A fleet smaller than 5,000 has a shorter day."""
    meta, day = installation.meta, DAY * SIZE / 5000
    await limit_app(meta, 200)
    async with open_fleet(pool, redis_url, meta, SIZE, due_within=day) as fleet:
        await fleet.pass_time(day // STRIDE + 1)
        assert await fleet.read("bool_and(token_checked_at > now() - $1::interval)", day + STRIDE)
        debugged = await fleet.read("count(token_debugged_at)")
        assert 100 * max(1, day // HOUR) <= debugged < SIZE

        # All at once, Meta is slow, and what checks may use of the app's limit is used.
        await fleet.conn.execute("UPDATE whatsapp_connections SET next_check_at = now()")
        slow = {"call": "read_numbers", "times": SIZE, "seconds": 1.0}
        await meta.order("POST", "faults", slow)
        checking = asyncio.ensure_future(fleet.check())
        await meta.put_waba(number())
        await installation.until_active(await installation.connect())
        assert not checking.done()
        await checking

        assert await fleet.read("bool_and(token_state = 'valid')")
        assert await fleet.told() == []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [3, SIZE])
async def test_a_day_of_metas_failures_changes_no_state_and_tells_nobody(
    meta: SimulatedMeta, pool: Pool, redis_url: str, size: int
) -> None:
    """Meta is away for eight hours, and says for an hour that every token is revoked."""
    await limit_app(meta, 200)
    async with open_fleet(pool, redis_url, meta, size) as fleet:
        with structlog.testing.capture_logs() as lines:
            await fleet.pass_time(4 * HOUR // STRIDE)
            away = {"call": "read_numbers", "code": 2, "status": 503, "times": ALWAYS}
            await meta.order("POST", "faults", away)
            await fleet.pass_time(8 * HOUR // STRIDE)
            assert await fleet.read("bool_or(next_check_at < now())") is False
            await meta.order("DELETE", "faults")
            await fleet.pass_time((4 * HOUR - HOUR / 2) // STRIDE)
            refused = {"call": "read_numbers", "code": 190, "subcode": 460, "times": ALWAYS}
            await meta.order("POST", "faults", refused)
            invalid = {
                "call": "debug_token",
                "body": '{"data": {"is_valid": false}}',
                "status": 200,
            }
            await meta.order("POST", "faults", invalid | {"times": ALWAYS})
            await fleet.pass_time(HOUR // STRIDE)
            for process in fleet.processes:
                assert process.count("porteiro_token_checks_suspended") == 1
            assert await fleet.read("count(token_doubt)") >= min(size, 10)
            await meta.order("DELETE", "faults")
            await fleet.pass_time((DAY - 16 * HOUR) // STRIDE)

        assert await fleet.read("bool_and(token_checked_at > now() - interval '25 hours')")
        assert await fleet.read("bool_and(token_state = 'valid')")
        assert await fleet.read("count(token_doubt) + count(token_reason)") == 0
        assert await fleet.told() == []
        signals = [line["event"] for line in lines if line["event"].startswith("token_checks.")]
        assert sorted(signals) == ["token_checks.resumed"] * 2 + ["token_checks.suspended"] * 2
        for process in fleet.processes:
            assert process.count("porteiro_token_checks_suspended") == 0


async def test_half_of_a_small_fleet_that_really_died_is_told_within_a_day(
    meta: SimulatedMeta, pool: Pool, redis_url: str
) -> None:
    async with open_fleet(pool, redis_url, meta, 4) as fleet:
        for each in (0, 1):
            await meta.order("POST", "tokens/revoke", {"waba_id": waba_id(each)})
        await fleet.pass_time(DAY / 2 // STRIDE)
        assert await fleet.told() == []
        await fleet.pass_time((DAY + HOUR) // STRIDE)
        told = await fleet.told()
        assert sorted(told) == ["token_recovered"] * 2 + ["token_revoked"] * 2


async def test_two_processes_together_keep_the_apps_limit(
    environment: dict[str, str], pool: Pool, conn: Conn
) -> None:
    size, limit = 80, 20
    async with open_bare_installation(environment, pool) as installation:
        await limit_app(installation.meta, limit)
        await connect_fleet(pool, installation.meta, size)
        await conn.execute("UPDATE whatsapp_connections SET next_check_at = now()")
        started = await conn.fetchval("SELECT now()")
        async with service("token_health", environment), service("token_health", environment):

            async def are_checked() -> bool:
                due = "SELECT count(*) = 0 FROM whatsapp_connections WHERE token_checked_at < $1"
                return bool(await conn.fetchval(due, started))

            await eventually(are_checked, seconds=60)
        calls = await installation.meta.calls()
    assert [call for call in calls if call["code"] is not None] == []
    asked = [call["call"] for call in calls]
    assert asked.count("read_numbers") == asked.count("read_subscriptions") == size
    # Half of the limit, and one call more of each process.
    assert limit / 2 <= asked.count("debug_token") <= limit / 2 + 2
