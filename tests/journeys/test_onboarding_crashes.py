"""Kill a process at every crash point of connecting and disconnecting. Nothing is lost or twice."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from yarl import URL

from shared.store.pool import Conn, Pool
from tests.support.crash_points import points
from tests.support.onboarding_setup import (
    CONNECTIONS,
    Installation,
    make_follow_ups_due,
    open_bare_installation,
)
from tests.support.processes import process, service, until_killed
from tests.support.simulated import COEXISTING, WABA, coexisting
from tests.support.waiting import eventually

COEXISTENCE = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"
#: Reached at each step. The third and fourth steps are the syncs, which Meta accepts once.
POINTS_OF_STEPS = ("follow_up.leased", "provision.begun", "provision.done")


@pytest.mark.parametrize(
    ("point", "passing"),
    [
        *((point, 1) for point in sorted(points("connecting"))),
        *((point, passing) for point in POINTS_OF_STEPS for passing in (3, 4)),
    ],
)
async def test_after_a_crash_the_waba_is_connected_and_nothing_is_done_twice(
    point: str, passing: int, environment: dict[str, str], pool: Pool, conn: Conn
) -> None:
    in_console = points("connecting")[point].parts[1] == "console"
    crash = {"CRASH_AT": f"{point}:{1 if in_console else passing}"}
    console_environment = environment | {"PORT": str(URL(environment["CONSOLE_URL"]).port)}
    async with open_bare_installation(environment, pool) as installation, AsyncExitStack() as stack:
        await installation.meta.put_waba(coexisting())
        console = await stack.enter_async_context(
            service("console", console_environment, **(crash if in_console else {}))
        )
        code = await installation.start_onboarding()
        signup = await installation.meta.sign_up(event=COEXISTENCE, webhooks=True)
        await installation.post_session(code, signup["message"])
        if in_console:
            with pytest.raises(aiohttp.ClientError):
                await installation.post_code(code, signup["code"])
            await until_killed(console)
            await stack.enter_async_context(service("console", console_environment))
            await installation.post_code(code, signup["code"])  # the browser posts the code again
            await conn.execute(
                "UPDATE whatsapp_onboarding SET code_at = code_at - interval '1 hour'"
            )
            is_lost = (await installation.status(code))["reason"] == "code_lost"
            assert is_lost == (point != "token.stored")
            signup = await installation.meta.sign_up(event=COEXISTENCE, webhooks=True)
        await installation.post_code(code, signup["code"])
        if point != "connection.disconnecting" and not in_console:
            async with process("services.processor", environment, **crash) as first_processor:
                await eventually(lambda: _make_due_until_exit(conn, first_processor))
                await until_killed(first_processor)
            await _end_leases(conn)
        processor = await stack.enter_async_context(
            service("processor", environment, **(crash if "disconnecting" in point else {}))
        )
        await eventually(lambda: _is_active(conn, installation, code))
        if point == "connection.disconnecting":
            await _disconnect(installation, conn, stack, environment, processor)
            return
        await _assert_connected_once(installation, conn)


async def _make_due_until_exit(conn: Conn, process: asyncio.subprocess.Process) -> bool:
    await make_follow_ups_due(conn)
    return process.returncode is not None


async def _end_leases(conn: Conn) -> None:
    """End the leases of the killed process."""
    await conn.execute("UPDATE follow_ups SET lease_until = now() WHERE lease_until > now()")


async def _is_active(conn: Conn, installation: Installation, code: str) -> bool:
    await make_follow_ups_due(conn)
    now = await installation.status(code)
    return now["connection"] is not None and now["connection"]["state"] == "active"


async def _assert_connected_once(installation: Installation, conn: Conn) -> None:
    assert await installation.calls("register") == []
    accepted = [
        entry["subject"]
        for entry in await installation.meta.calls()
        if entry["call"] == "sync" and entry["code"] is None
    ]
    kinds = ("history", "smb_app_state_sync")
    assert sorted(accepted) == [f"{COEXISTING}:{kind}" for kind in kinds]
    events = await conn.fetch(
        "SELECT type FROM events WHERE type ~ '^(onboarding|connection.active)'"
    )
    assert sorted(row["type"] for row in events) == ["connection.active", "onboarding.completed"]
    token_count = await conn.fetchval(
        "SELECT count(*) FROM whatsapp_onboarding WHERE token IS NOT NULL"
    )
    assert token_count == 0


async def _disconnect(
    installation: Installation, conn: Conn, stack: AsyncExitStack, environment: dict[str, str],
    processor: asyncio.subprocess.Process,
) -> None:  # fmt: skip
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "a test"}, status=202)
    await until_killed(processor)
    await _end_leases(conn)
    await stack.enter_async_context(service("processor", environment))

    async def is_disconnected() -> bool:
        await make_follow_ups_due(conn)
        state: str = (await installation.request("GET", f"{CONNECTIONS}/{WABA}"))["state"]
        return state == "disconnected"

    await eventually(is_disconnected)
    events = await conn.fetch("SELECT type FROM events WHERE type = 'connection.disconnected'")
    assert len(events) == 1


def test_the_other_crash_points_belong_to_key_rotation() -> None:
    """tests/integration/scheduler/test_rotate_keys.py kills the rotation there."""
    assert set(points("keys")) == {"keys.resealing"}
