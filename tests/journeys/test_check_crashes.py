"""Kill token_health at every crash point of a check and of a renewal: each event is told once."""

import json

import pytest

from shared.store.pool import Conn
from tests.support.crash_points import points
from tests.support.fleet import DOUBTED
from tests.support.onboarding_setup import Installation
from tests.support.processes import process, service, until_killed
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually


@pytest.mark.parametrize("point", sorted(points("checks")))
async def test_after_a_crash_the_end_is_the_same_and_each_event_is_told_once(
    point: str, installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    await conn.execute(DOUBTED)
    environment = installation.environment
    async with process("services.token_health", environment, CRASH_AT=point) as first:
        await until_killed(first)
    # Its lease lapses.
    await conn.execute("UPDATE whatsapp_connections SET next_check_at = now()")
    async with service("token_health", environment):

        async def is_recovered() -> bool:
            # A check that was recorded before the crash is made again the next day.
            await conn.execute(
                "UPDATE whatsapp_connections SET next_check_at = now()"
                " WHERE token_state = 'revoked'"
            )
            return "connection.token_recovered" in await told()

        async def told() -> list[str]:
            rows = await conn.fetch(
                "SELECT type FROM events WHERE type LIKE 'connection.token%' ORDER BY revision"
            )
            return [row["type"] for row in rows]

        await eventually(is_recovered)
    assert await told() == ["connection.token_revoked", "connection.token_recovered"]
    [row] = await conn.fetch(
        "SELECT token_state::text, token_doubt, token_told FROM whatsapp_connections"
    )
    assert tuple(row) == ("valid", None, None)
    [data] = await conn.fetch("SELECT data FROM events WHERE type = 'connection.token_recovered'")
    assert json.loads(data["data"])["token"]["state"] == "valid"
