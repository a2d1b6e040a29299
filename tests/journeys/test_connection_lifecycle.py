"""A working connection changes by Meta's webhooks, by a read from Meta and by our disconnect."""

import time
from typing import Any

import aiohttp
import pytest

from shared.store.pool import Conn
from tests.support.onboarding_setup import CHECK, CONNECTIONS, Installation
from tests.support.sending import post
from tests.support.simulated import BUSINESS, COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually


async def set_up(installation: Installation) -> str:
    await installation.meta.put_waba(number())
    code = await installation.connect()
    await installation.until_active(code)
    installation.meta.time = time.time() + 1  # Meta's times have full seconds: later than the setup
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
async def test_a_takedown_by_meta_stays_after_a_read_from_meta(
    installation: Installation,
    conn: Conn,
    event: str,
    more: dict[str, Any],
    state: str,
    reason: str,
) -> None:
    await set_up(installation)
    await installation.meta.happen(event, **more)
    now = await installation.until_connection(state)
    assert (now["reason"], now["remedy"]["who"]) == (reason, "customer")

    async def is_read() -> bool:
        await installation.make_follow_ups_due()
        return bool(
            await conn.fetchval(
                "SELECT count(*) FROM follow_ups WHERE kind = 'read' AND state = 'done'"
            )
        )

    await eventually(is_read)
    assert (await installation.until_connection(state))["reason"] == reason


@pytest.mark.parametrize(
    ("down", "up", "more"),
    [
        ("PARTNER_REMOVED", "PARTNER_ADDED", {}),
        ("DISABLED_UPDATE", "DISABLED_UPDATE", {"ban_state": "REINSTATE"}),
    ],
)
async def test_a_connection_that_comes_back_is_provisioned_again(
    installation: Installation, down: str, up: str, more: dict[str, Any]
) -> None:
    await set_up(installation)
    await installation.meta.happen(down)
    await installation.until_connection("disabled" if down == "DISABLED_UPDATE" else "disconnected")
    before = len(await installation.calls("read_subscriptions"))
    installation.meta.time = time.time() + 1
    await installation.meta.happen(up, **more)
    await installation.until_connection("active")
    assert len(await installation.calls("read_subscriptions")) > before
    assert len(await installation.calls("register")) == 1


async def test_a_removal_that_a_read_from_meta_does_not_confirm_is_undone(
    installation: Installation, conn: Conn
) -> None:
    """A webhook may be late or wrong. The read from Meta decides."""
    await set_up(installation)
    info = {"waba_id": WABA, "owner_business_id": BUSINESS}
    value = {"event": "PARTNER_REMOVED", "waba_info": info}
    change = {"field": "account_update", "value": value}
    entry = {"id": "710000000000001", "time": int(installation.meta.time), "changes": [change]}
    body = {"object": "whatsapp_business_account", "entry": [entry]}
    url = f"http://{installation.environment['HOST']}:{installation.environment['PORT']}"
    async with aiohttp.ClientSession(url) as client:
        assert await post(client, body) == 200

    async def is_disconnected() -> bool:
        return bool(
            await conn.fetchval(
                "SELECT count(*) FROM events WHERE type = 'connection.disconnected'"
            )
        )

    await eventually(is_disconnected)
    await installation.until_connection("active")


async def test_a_coexistence_link_is_offboarded_and_reconnected(installation: Installation) -> None:
    await installation.meta.put_waba(coexisting())
    code = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await installation.until_active(code)
    installation.meta.time = time.time() + 1
    await installation.meta.happen("ACCOUNT_OFFBOARDED")
    assert (await installation.until_connection("offboarded"))["reason"] == "offboarded"
    installation.meta.time = time.time() + 1
    await installation.meta.happen("ACCOUNT_RECONNECTED")
    await installation.until_connection("active")
    again = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    assert (await installation.until_active(again))["state"] == "completed"

    async def are_synced_again() -> bool:
        await installation.make_follow_ups_due()
        return len(await installation.calls("sync")) == 4

    await eventually(are_synced_again)
    assert await installation.calls("register") == []


async def test_our_disconnect_lists_what_is_left_behind(
    installation: Installation, conn: Conn
) -> None:
    await set_up(installation)
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "contract ended"}, status=202)
    now = await installation.until_connection("disconnected")
    assert (now["reason"], now["token_state"]) == ("disconnected_by_us", "none")
    [left] = now["left_behind"]
    assert "app stays installed" in left
    assert await installation.calls("deregister", "unsubscribe") == [
        ("deregister", NUMBER), ("unsubscribe", WABA),
    ]  # fmt: skip
    assert await conn.fetchval("SELECT token FROM whatsapp_connections") is None
    last = "SELECT reason FROM audit_log ORDER BY id DESC LIMIT 1"
    assert await conn.fetchval(last) == "contract ended"
    # Another organization can now prove it.
    installation.meta.time = time.time() + 1
    await installation.until_active(await installation.connect("pharmacy"))
    shown = await installation.until_connection("active")
    assert (shown["organization_id"], shown["left_behind"]) == ("pharmacy", [])


async def test_what_meta_refuses_to_undo_is_listed_as_left_behind(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(
        number(), coexisting() | {"display_phone_number": "15550003333"}
    )
    await installation.until_active(await installation.connect())
    for call in ("deregister", "unsubscribe"):
        refuse = {"call": call, "code": 200, "status": 403}
        await installation.meta.order("POST", "faults", refuse)
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "contract ended"}, status=202)
    left = " ".join((await installation.until_connection("disconnected"))["left_behind"])
    for phrase in (f"{NUMBER} stays registered", f"{COEXISTING} stays linked", "subscription"):
        assert phrase in left


async def test_a_live_check_finds_a_revoked_token(installation: Installation) -> None:
    await set_up(installation)
    path = f"{CHECK}?waba_id={WABA}"
    [connection] = (await installation.request("GET", path))["connections"]
    assert (connection["is_working"], connection["reason"], connection["remedy"]) == (
        True,
        None,
        None,
    )
    assert connection["last_check_age"] < 60
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    async with installation.pool.acquire() as conn:
        await conn.execute(
            "UPDATE whatsapp_connections SET token_checked_at = now() - interval '1 hour'"
        )
    [connection] = (await installation.request("GET", path))["connections"]
    assert connection["is_working"]
    assert 3590 < connection["last_check_age"] < 3700
    [connection] = (await installation.request("GET", f"{path}&live=true"))["connections"]
    assert (connection["is_working"], connection["doubt"]) == (False, "token_revoked")
    async with installation.pool.acquire() as conn:
        await conn.execute(
            """
            UPDATE whatsapp_connections SET token_checked_at = now() - interval '5 minutes',
                token_bad_since = now() - interval '5 minutes'
            """
        )
    [connection] = (await installation.request("GET", f"{path}&live=true"))["connections"]
    assert (connection["is_working"], connection["token_state"], connection["reason"]) == (
        False, "revoked", "token_revoked",
    )  # fmt: skip
    assert connection["remedy"]["who"] == "customer"


async def test_an_expired_token_does_not_work_although_it_was_valid_when_checked(
    installation: Installation,
) -> None:
    await set_up(installation)
    async with installation.pool.acquire() as conn:
        await conn.execute(
            "UPDATE whatsapp_connections SET token_expires_at = now() - interval '1 minute'"
        )
    [connection] = (await installation.request("GET", f"{CHECK}?waba_id={WABA}"))["connections"]
    assert (connection["is_working"], connection["token_state"], connection["reason"]) == (
        False, "expired", "reconnect",
    )  # fmt: skip


async def test_without_a_key_the_check_shows_only_that_the_service_is_up(
    installation: Installation,
) -> None:
    async with installation.http.get("/api/v1/whatsapp/check-connection") as answer:
        assert (answer.status, await answer.json()) == (
            200,
            {"status": "up", "connections": None, "next_after": None},
        )
    async with installation.http.get(f"/api/v1/whatsapp/check-connection?waba_id={WABA}") as answer:
        assert answer.status == 401
