"""Reasons that no other journey reaches are told too."""

import asyncio

import pytest

from shared.store.pool import Conn
from tests.support.environment import APP_ID
from tests.support.onboarding_setup import CONNECTIONS, Installation
from tests.support.simulated import NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually


async def reasons_of_failures(installation: Installation, conn: Conn) -> list[str]:
    rows = await conn.fetch("SELECT reason FROM failed_calls ORDER BY id")
    return [row["reason"] for row in rows]


async def test_a_code_that_is_being_exchanged(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    slow = {"call": "exchange_code", "seconds": 3.0}
    await installation.meta.order("POST", "faults", slow)
    code = await installation.start_onboarding()
    exchanging = asyncio.create_task(installation.complete_popup(code))
    now = await installation.until(code, reason="exchanging")
    assert now["remedy"]["who"] == "nobody"
    await exchanging
    await installation.until_active(code)


@pytest.mark.parametrize(("app_id", "reason"), [("1", "wrong_app"), (APP_ID, "token_invalid")])
async def test_a_login_for_another_app_or_no_longer_valid(
    installation: Installation, app_id: str, reason: str
) -> None:
    await installation.meta.put_waba(number())
    body = f'{{"data": {{"is_valid": false, "app_id": "{app_id}"}}}}'
    fault = {"call": "debug_token", "body": body, "status": 200}
    await installation.meta.order("POST", "faults", fault)
    code = await installation.connect()
    assert (await installation.until(code, reason=reason))["remedy"]["who"] == "customer"


async def test_a_number_that_was_never_registered_leaves_nothing_behind(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    await installation.meta.order("POST", "faults", {"call": "deregister", "code": 133010})
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "contract ended"}, status=202)
    left = (await installation.until_connection("disconnected"))["left_behind"]
    assert [each for each in left if NUMBER in each] == []
    assert await reasons_of_failures(installation, conn) == ["never_registered"]


async def test_chats_that_the_customer_does_not_share_stop_nothing(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(coexisting())
    history = {"call": "sync", "code": 2593109, "times": 2}
    await installation.meta.order("POST", "faults", history)
    await installation.until_active(
        await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    )
    assert await reasons_of_failures(installation, conn) == ["history_declined"] * 2


async def test_a_share_after_a_takedown_while_another_organization_connects(
    installation: Installation, conn: Conn
) -> None:
    """Which organization the account is shared with, only Meta can tell, and not at once."""
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect("bakery"))
    # Meta's times are whole seconds: a takedown in the proof's own second came before it.
    older = "began_at = began_at - interval '1 minute', proven_at = proven_at - interval '1 minute'"
    await conn.execute(f"UPDATE connection_eras SET {older}")
    other = await installation.start_onboarding("pharmacy")
    await installation.post_session(other, (await installation.meta.sign_up())["message"])
    await installation.meta.happen("PARTNER_REMOVED", webhook=True)
    await installation.meta.happen("PARTNER_ADDED")

    async def is_doubted() -> bool:
        await installation.make_follow_ups_due()
        shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
        return bool(shown["reason"] == "owner_doubted" and shown["remedy"]["who"] == "nobody")

    await eventually(is_doubted)
