"""Connections, orphans and keys by the `porteiro` command, and the sweep where no processor is."""

import asyncio
from uuid import uuid4

from shared.process.lifecycle import EXIT_REFUSED
from shared.store import api_keys
from shared.store.pool import Conn, Pool
from tests.support.command_line import porteiro
from tests.support.onboarding_setup import CONNECTIONS, House, open_house
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually


async def test_a_connection_is_listed_shown_provisioned_and_disconnected(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "subscribe", "code": 131042})
    code = await house.connect()
    await house.until(code, state="provisioning", reason="payment_missing")
    _, log = await porteiro("connections", "list", "--organization", "bakery", COLUMNS="200")
    assert all(word in log for word in (WABA, "bakery", "provisioning", "payment_missing", "valid"))
    _, log = await porteiro("connections", "show", WABA, COLUMNS="200")
    assert "to do, by customer" in log
    assert "Add a payment method" in log
    assert "15550001111 (not registered)" in log
    assert (await porteiro("connections", "provision", WABA))[0] == 0
    await house.until_active(code)
    reason = ("--reason", "contract ended")
    assert (await porteiro("connections", "disconnect", WABA, *reason))[0] == 0
    await house.until_connection("disconnected")
    _, log = await porteiro("connections", "show", WABA, COLUMNS="200")
    assert "the app stays installed" in log
    _, log = await porteiro("organizations", "list", COLUMNS="200")
    assert "bakery" in log
    code_, log = await porteiro("connections", "provision", WABA)
    assert (code_, "must connect again" in log) == (EXIT_REFUSED, True)
    for arguments in (("show", "1"), ("provision", "1"), ("disconnect", "1", *reason)):
        code_, log = await porteiro("connections", *arguments)
        assert (code_, "is no organization's connection" in log) == (EXIT_REFUSED, True)


async def test_a_stuck_onboarding_is_listed_and_asked_about_again(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await house.connect()
    await house.until(code, reason="app_token_refused")
    _, log = await porteiro("onboardings", "list", COLUMNS="200")
    assert code in log
    assert "app_token_refused" in log
    assert (await porteiro("onboardings", "retry", code))[0] == 0
    await house.until_active(code)
    _, log = await porteiro("onboardings", "list", COLUMNS="200")
    assert code not in log
    code_, log = await porteiro("onboardings", "retry", code)
    assert (code_, "waits to be proven" in log) == (EXIT_REFUSED, True)


async def test_an_orphan_is_listed_and_claimed(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.happen("PARTNER_ADDED")

    async def is_listed() -> bool:
        return WABA in (await porteiro("orphans", "list", COLUMNS="200"))[1]

    await eventually(is_listed)
    claim = ("orphans", "claim", WABA, "bakery", "--reason", "they called", "--actor", "ana")
    code, log = await porteiro(*claim)
    assert (code, "ORGANIZATION_ID is not known" in log) == (EXIT_REFUSED, True)
    for organization in ("bakery", "pharmacy"):
        assert (await porteiro("organizations", "add", organization))[0] == 0
    code, log = await porteiro(*claim)
    assert (code, '"event":"orphan.claimed"' in log) == (0, True)
    await house.until_connection("active")
    assert (await house.ask("GET", f"{CONNECTIONS}/{WABA}"))["organization_id"] == "bakery"
    for waba, organization, fault in (
        (WABA, "pharmacy", "it is another organization's"),
        ("1", "bakery", "nothing is known"),
    ):
        code, log = await porteiro("orphans", "claim", waba, organization, "--reason", "x")
        assert (code, fault in log) == (EXIT_REFUSED, True)


async def test_a_key_is_made_listed_and_revoked(environment: dict[str, str], conn: Conn) -> None:
    code, key = await porteiro("api-keys", "create", "backend", "--organization", "bakery")
    assert code == 0
    assert key.strip().startswith(api_keys.PREFIX)
    found = await api_keys.find(conn, key.strip())
    assert found is not None
    assert (found.name, found.organization_id) == ("backend", "bakery")
    _, log = await porteiro("api-keys", "list", COLUMNS="200")
    assert str(found.id) in log
    assert key.strip() not in log
    assert (await porteiro("api-keys", "revoke", str(found.id)))[0] == 0
    assert await api_keys.find(conn, key.strip()) is None
    for wrong in (str(found.id), str(uuid4())):
        assert (await porteiro("api-keys", "revoke", wrong))[0] == EXIT_REFUSED


async def test_the_sweep_works_follow_ups_where_no_processor_does(
    environment: dict[str, str], pool: Pool, conn: Conn
) -> None:
    async with open_house(environment, pool, with_processor=False) as house:
        await house.meta.put_waba(number())
        code = await house.connect()

        async def is_active() -> bool:
            await conn.execute(
                "UPDATE follow_ups SET due_at = now() - interval '6 minutes'"
                " WHERE state = 'pending'"
            )
            ends = await asyncio.gather(*(porteiro("retry-sweep") for _ in range(2)))
            assert [end for end, _ in ends] == [0, 0]
            found = (await house.status(code))["connection"]
            return found is not None and found["state"] == "active"

        await eventually(is_active, seconds=60)
        assert len(await house.calls("register")) == 1
