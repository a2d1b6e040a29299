"""What becomes of a working connection: as Meta tells, as Meta says when asked, as we end it."""

import time
from typing import Any

import aiohttp
import pytest

from shared.store.pool import Conn
from tests.support.onboarding_setup import CHECK, CONNECTIONS, House
from tests.support.sending import post
from tests.support.simulated import BUSINESS, COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually


async def set_up(house: House) -> str:
    await house.meta.put_waba(number())
    code = await house.connect()
    await house.until_active(code)
    house.meta.time = time.time() + 1  # Meta counts in seconds: later than the setup
    return code


@pytest.mark.parametrize(
    ("event", "more", "state", "reason"),
    [
        ("PARTNER_REMOVED", {}, "disconnected", "unshared"),
        ("PARTNER_APP_UNINSTALLED", {}, "disconnected", "uninstalled"),
        ("ACCOUNT_DELETED", {}, "disconnected", "deleted"),
        ("DISABLED_UPDATE", {"ban_state": "DISABLE"}, "disabled", "banned"),
    ],
)
async def test_what_meta_takes_down_is_down_and_stays_so_when_asked(
    house: House, conn: Conn, event: str, more: dict[str, Any], state: str, reason: str
) -> None:
    await set_up(house)
    await house.meta.happen(event, **more)
    now = await house.until_connection(state)
    assert (now["reason"], now["remedy"]["who"]) == (reason, "customer")

    async def is_read() -> bool:
        await house.hurry()
        return bool(
            await conn.fetchval(
                "SELECT count(*) FROM follow_ups WHERE kind = 'read' AND state = 'done'"
            )
        )

    await eventually(is_read)
    assert (await house.until_connection(state))["reason"] == reason


@pytest.mark.parametrize(
    ("down", "up", "more"),
    [
        ("PARTNER_REMOVED", "PARTNER_ADDED", {}),
        ("DISABLED_UPDATE", "DISABLED_UPDATE", {"ban_state": "REINSTATE"}),
    ],
)
async def test_what_lives_again_is_set_up_again(
    house: House, down: str, up: str, more: dict[str, Any]
) -> None:
    await set_up(house)
    await house.meta.happen(down)
    await house.until_connection("disabled" if down == "DISABLED_UPDATE" else "disconnected")
    before = len(await house.calls("read_subscriptions"))
    house.meta.time = time.time() + 1
    await house.meta.happen(up, **more)
    await house.until_connection("active")
    assert len(await house.calls("read_subscriptions")) > before
    assert len(await house.calls("register")) == 1


async def test_a_removal_that_meta_does_not_confirm_is_taken_back(house: House, conn: Conn) -> None:
    """A webhook alone, late or wrong: Meta's read decides."""
    await set_up(house)
    info = {"waba_id": WABA, "owner_business_id": BUSINESS}
    value = {"event": "PARTNER_REMOVED", "waba_info": info}
    change = {"field": "account_update", "value": value}
    entry = {"id": "710000000000001", "time": int(house.meta.time), "changes": [change]}
    body = {"object": "whatsapp_business_account", "entry": [entry]}
    url = f"http://{house.environment['HOST']}:{house.environment['PORT']}"
    async with aiohttp.ClientSession(url) as door:
        assert await post(door, body) == 200

    async def was_told() -> bool:
        return bool(
            await conn.fetchval(
                "SELECT count(*) FROM events WHERE type = 'connection.disconnected'"
            )
        )

    await eventually(was_told)
    await house.until_connection("active")


async def test_a_coexistence_link_that_is_cut_and_made_again(house: House) -> None:
    await house.meta.put_waba(coexisting())
    code = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await house.until_active(code)
    house.meta.time = time.time() + 1
    await house.meta.happen("ACCOUNT_OFFBOARDED")
    assert (await house.until_connection("offboarded"))["reason"] == "offboarded"
    house.meta.time = time.time() + 1
    await house.meta.happen("ACCOUNT_RECONNECTED")
    await house.until_connection("active")
    again = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    assert (await house.until_active(again))["state"] == "completed"

    async def are_synced_once_more() -> bool:
        await house.hurry()
        return len(await house.calls("sync")) == 4

    await eventually(are_synced_once_more)
    assert await house.calls("register") == []


async def test_disconnecting_from_our_side_says_what_is_left_behind(
    house: House, conn: Conn
) -> None:
    await set_up(house)
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "contract ended"}, status=202)
    now = await house.until_connection("disconnected")
    assert (now["reason"], now["token_state"]) == ("disconnected_by_us", "none")
    [left] = now["left_behind"]
    assert "app stays installed" in left
    assert await house.calls("deregister", "unsubscribe") == [
        ("deregister", NUMBER), ("unsubscribe", WABA),
    ]  # fmt: skip
    assert await conn.fetchval("SELECT token FROM whatsapp_connections") is None
    assert await conn.fetchval("SELECT reason FROM audit_log") == "contract ended"
    # It can be another organization's now, which proves it.
    house.meta.time = time.time() + 1
    await house.until_active(await house.connect("pharmacy"))
    shown = await house.until_connection("active")
    assert (shown["organization_id"], shown["left_behind"]) == ("pharmacy", [])


async def test_what_meta_refuses_to_undo_is_left_behind_and_said(house: House) -> None:
    await house.meta.put_waba(number(), coexisting() | {"display_phone_number": "15550003333"})
    await house.until_active(await house.connect())
    for call in ("deregister", "unsubscribe"):
        refuse = {"call": call, "code": 200, "status": 403}
        await house.meta.order("POST", "faults", refuse)
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "contract ended"}, status=202)
    left = " ".join((await house.until_connection("disconnected"))["left_behind"])
    for what in (f"{NUMBER} stays registered", f"{COEXISTING} stays linked", "subscription"):
        assert what in left


async def test_a_token_that_died_is_seen_by_a_live_check(house: House) -> None:
    await set_up(house)
    path = f"{CHECK}?waba_id={WABA}"
    [one] = (await house.ask("GET", path))["connections"]
    assert (one["is_working"], one["reason"], one["remedy"]) == (True, None, None)
    assert one["last_check_age"] < 60
    await house.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    async with house.pool.acquire() as conn:
        await conn.execute(
            "UPDATE whatsapp_connections SET token_checked_at = now() - interval '1 hour'"
        )
    [one] = (await house.ask("GET", path))["connections"]
    assert one["is_working"]
    assert 3590 < one["last_check_age"] < 3700
    [one] = (await house.ask("GET", f"{path}&live=true"))["connections"]
    assert (one["is_working"], one["token_state"], one["reason"]) == (
        False, "revoked", "reconnect",
    )  # fmt: skip
    assert one["remedy"]["who"] == "customer"


async def test_a_token_past_its_end_works_no_more_whoever_checked_it(house: House) -> None:
    await set_up(house)
    async with house.pool.acquire() as conn:
        await conn.execute(
            "UPDATE whatsapp_connections SET token_expires_at = now() - interval '1 minute'"
        )
    [one] = (await house.ask("GET", f"{CHECK}?waba_id={WABA}"))["connections"]
    assert (one["is_working"], one["token_state"], one["reason"]) == (
        False, "expired", "reconnect",
    )  # fmt: skip


async def test_without_a_key_only_whether_we_are_up(house: House) -> None:
    async with house.http.get("/api/v1/whatsapp/check-connection") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "up", "connections": None})
    async with house.http.get(f"/api/v1/whatsapp/check-connection?waba_id={WABA}") as answer:
        assert answer.status == 401
