"""Killed at every point on the way to a connection and out of it: nothing is lost or doubled."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from yarl import URL

from shared.store.pool import Conn, Pool
from tests.support.crash_points import points
from tests.support.onboarding_setup import CONNECTIONS, House, age, house_of_processes
from tests.support.processes import process, service, until_dead
from tests.support.simulated import COEXISTING, WABA, coexisting
from tests.support.waiting import eventually

COEXISTENCE = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"


#: Passed at each step, the third and fourth of which are the syncs that Meta takes once.
EACH_STEP = ("follow_up.leased", "provision.begun", "provision.done")


@pytest.mark.parametrize(
    ("point", "passing"),
    [
        *((point, 1) for point in sorted(points("connecting"))),
        *((point, passing) for point in EACH_STEP for passing in (3, 4)),
    ],
)
async def test_after_a_crash_it_is_connected_and_nothing_was_done_twice(
    point: str, passing: int, environment: dict[str, str], pool: Pool, conn: Conn
) -> None:
    in_console = points("connecting")[point].parts[1] == "console"
    crash = {"CRASH_AT": f"{point}:{1 if in_console else passing}"}
    own = environment | {"PORT": str(URL(environment["CONSOLE_URL"]).port)}
    async with house_of_processes(environment, pool) as house, AsyncExitStack() as stack:
        await house.meta.put_waba(coexisting())
        console = await stack.enter_async_context(
            service("console", own, **(crash if in_console else {}))
        )
        code = await house.start()
        signed = await house.meta.sign_up(event=COEXISTENCE, webhooks=True)
        await house.say(code, signed["message"])
        if in_console:
            with pytest.raises(aiohttp.ClientError):
                await house.hand_in(code, signed["code"])
            await until_dead(console)
            await stack.enter_async_context(service("console", own))
            await house.hand_in(code, signed["code"])  # the browser tries again
            await conn.execute(
                "UPDATE whatsapp_onboarding SET code_at = code_at - interval '1 hour'"
            )
            is_lost = (await house.status(code))["reason"] == "code_lost"
            assert is_lost == (point != "token.stored")
            signed = await house.meta.sign_up(event=COEXISTENCE, webhooks=True)
        await house.hand_in(code, signed["code"])
        if point != "connection.disconnecting" and not in_console:
            async with process("services.processor", environment, **crash) as first:
                await eventually(lambda: _aged_until_ended(conn, first))
                await until_dead(first)
            await _lapse(conn)
        processor = await stack.enter_async_context(
            service("processor", environment, **(crash if "disconnecting" in point else {}))
        )
        await eventually(lambda: _is_active(conn, house, code))
        if point == "connection.disconnecting":
            await _disconnect(house, conn, stack, environment, processor)
            return
        await _connected_once(house, conn)


async def _aged_until_ended(conn: Conn, first: asyncio.subprocess.Process) -> bool:
    await age(conn)
    return first.returncode is not None


async def _lapse(conn: Conn) -> None:
    """As if the leases of who died were over."""
    await conn.execute("UPDATE follow_ups SET lease_until = now() WHERE lease_until > now()")


async def _is_active(conn: Conn, house: House, code: str) -> bool:
    await age(conn)
    now = await house.status(code)
    return now["connection"] is not None and now["connection"]["state"] == "active"


async def _connected_once(house: House, conn: Conn) -> None:
    assert await house.calls("register") == []
    accepted = [
        entry["subject"]
        for entry in await house.meta.calls()
        if entry["call"] == "sync" and entry["code"] is None
    ]
    kinds = ("history", "smb_app_state_sync")
    assert sorted(accepted) == [f"{COEXISTING}:{kind}" for kind in kinds]
    told = await conn.fetch(
        "SELECT type FROM events WHERE type ~ '^(onboarding|connection.active)'"
    )
    assert sorted(row["type"] for row in told) == ["connection.active", "onboarding.completed"]
    left = await conn.fetchval("SELECT count(*) FROM whatsapp_onboarding WHERE token IS NOT NULL")
    assert left == 0


async def _disconnect(
    house: House, conn: Conn, stack: AsyncExitStack, environment: dict[str, str],
    processor: asyncio.subprocess.Process,
) -> None:  # fmt: skip
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "a test"}, status=202)
    await until_dead(processor)
    await _lapse(conn)
    await stack.enter_async_context(service("processor", environment))

    async def is_over() -> bool:
        await age(conn)
        state: str = (await house.ask("GET", f"{CONNECTIONS}/{WABA}"))["state"]
        return state == "disconnected"

    await eventually(is_over)
    told = await conn.fetch("SELECT type FROM events WHERE type = 'connection.disconnected'")
    assert len(told) == 1


def test_what_crosses_no_road_of_these_is_crossed_elsewhere() -> None:
    """The rotation's own test kills it where it says."""
    assert set(points("keys")) == {"keys.resealing"}
