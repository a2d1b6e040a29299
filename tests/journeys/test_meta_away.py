"""What waited while Meta was away holds up no new customer when it is back.

READS is how much waits; `make prove` uses 5,000.
"""

import os
from datetime import timedelta

import pytest

from services.processor.follow_ups.read import AWAY_SECONDS
from shared.store.connections import follow_ups
from shared.store.pool import Conn, Pool
from tests.support.fleet import connect_fleet, waba_id
from tests.support.onboarding_setup import Installation
from tests.support.simulated import number
from tests.support.waiting import eventually

READS = int(os.environ.get("READS", "100"))
HOUR, AWAY = timedelta(hours=1), timedelta(seconds=AWAY_SECONDS)


@pytest.mark.timeout(1800)
async def test_after_an_hour_without_meta_a_new_customer_waits_for_no_read(
    installation: Installation, pool: Pool, conn: Conn
) -> None:
    await connect_fleet(pool, installation.meta, READS)
    away = {"call": "debug_token", "code": 2, "status": 503, "times": 10**9}
    await installation.meta.order("POST", "faults", away)
    await follow_ups.add(conn, "read", [waba_id(each) for each in range(READS)])

    async def are_all_put_off() -> bool:
        due = "state = 'pending' AND (due_at <= now() OR reason IS NULL)"
        return not await conn.fetchval(
            f"SELECT count(*) FROM follow_ups WHERE kind = 'read' AND {due}"
        )

    for _ in range(HOUR // AWAY):
        await eventually(are_all_put_off, seconds=30 + READS / 20)
        older = "due_at = due_at - $1::interval, asked_at = asked_at - $1::interval"
        await conn.execute(f"UPDATE follow_ups SET {older}", AWAY)
        installation.meta.time += AWAY_SECONDS
    await installation.meta.order("DELETE", "faults")
    await installation.meta.put_waba(number())
    installation.meta.time += HOUR.total_seconds()  # what was refused counts no more
    await installation.meta.order("PUT", "limits", {"app_calls": READS // 2})
    await conn.execute("UPDATE follow_ups SET due_at = now()")
    await eventually(
        are_all_put_off, seconds=30 + READS / 20
    )  # reads use what they may of the app's limit
    await conn.execute("UPDATE follow_ups SET due_at = now()")
    code = await installation.connect()

    async def is_proven() -> bool:
        return (await installation.status(code))["connection"] is not None

    await eventually(is_proven, seconds=10)
    assert await conn.fetchval("SELECT count(*) FROM follow_ups WHERE kind = 'read'") > 0
