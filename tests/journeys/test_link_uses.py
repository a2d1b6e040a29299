"""Whoever has an onboarding's link cannot send for ever, nor after its life."""

from typing import Any

import pytest

from shared.store.connections import link_uses
from shared.store.pool import Conn
from tests.support.onboarding_setup import ONBOARDING, Installation
from tests.support.simulated import number


async def connect_until_pin(installation: Installation) -> str:
    await installation.meta.put_waba(number(pin="271828"))
    code = await installation.connect()
    await installation.until(code, state="provisioning", reason="pin_needed")
    return code


async def test_forty_made_up_codes_cost_ten_calls_to_meta(
    installation: Installation, conn: Conn
) -> None:
    code = await installation.start_onboarding()
    for attempt in range(40):
        path, body = f"{ONBOARDING}/{code}/code", {"code": f"made-up-{attempt}"}
        status = 200 if attempt < 10 else 409
        answer = await installation.request("POST", path, body, status=status)
    assert answer["code"] == "too_many_tries"
    assert len(await installation.calls("exchange_code")) == 10
    assert await conn.fetchval("SELECT count(*) FROM audit_log WHERE action LIKE '%code'") == 10
    assert (await installation.status(code))["reason"] == "code_refused"


async def test_a_blocked_proof_is_tried_again_only_as_often_as_there_may_be_codes(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    refusal = {"call": "debug_token", "code": 190, "times": 100}
    await installation.meta.order("POST", "faults", refusal)
    code = await installation.connect()
    for _ in range(9):
        await installation.until(code, reason="app_token_refused")
        await installation.post_code(code, "any-code")
    await installation.until(code, reason="app_token_refused")
    assert (await installation.post_code(code, "any-code", status=409))["code"] == "too_many_tries"


async def test_messages_are_counted(installation: Installation) -> None:
    code = await installation.start_onboarding()
    message: dict[str, Any] = {"event": "CANCEL", "data": {}}
    for _ in range(link_uses.MOST["messages"]):
        await installation.post_session(code, message)
    assert (await installation.post_session(code, message, status=409))["code"] == "too_many_tries"


async def test_an_old_link_sets_no_pin_and_takes_no_code(
    installation: Installation, conn: Conn
) -> None:
    code = await connect_until_pin(installation)
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now() - interval '200 days'")
    audited = await conn.fetchval("SELECT count(*) FROM audit_log")
    status, answer = await installation.post_on_page(code, "pin", {"pin": "271828"})
    assert (status, answer["code"]) == (409, "onboarding_expired")
    assert await conn.fetchval("SELECT count(*) FROM audit_log") == audited
    assert len(await installation.calls("register")) == 1
    # What changes nothing may still be repeated.
    await installation.post_session(code, {"event": "FINISH", "data": {}})


async def test_pins_by_a_link_are_counted(installation: Installation, conn: Conn) -> None:
    code = await connect_until_pin(installation)
    await conn.execute("UPDATE whatsapp_onboarding SET pins = 9")
    assert (await installation.post_on_page(code, "pin", {"pin": "111111"}))[0] == 200
    status, answer = await installation.post_on_page(code, "pin", {"pin": "271828"})
    assert (status, answer["code"]) == (409, "too_many_tries")


@pytest.mark.parametrize("use", link_uses.MOST)
async def test_nothing_is_counted_for_a_closed_onboarding(
    installation: Installation, conn: Conn, use: link_uses.Use
) -> None:
    code = await installation.start_onboarding()
    await installation.request("DELETE", f"{ONBOARDING}/{code}")
    onboarding_id = await conn.fetchval("SELECT id FROM whatsapp_onboarding")
    assert not await link_uses.count(conn, onboarding_id, use)
