"""From Meta's dialog to a working connection, by every way there is."""

from typing import Any

import pytest
from yarl import URL

from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, ORPHANS, House
from tests.support.sending import WABA as OTHER_WABA
from tests.support.simulated import BUSINESS, COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually

PROVE = [("exchange_code", WABA), ("debug_token", WABA), ("read_waba", WABA)]
SET_UP = [("read_numbers", WABA), ("read_subscriptions", WABA), ("subscribe", WABA)]


@pytest.mark.parametrize("first", ["message", "code"])
async def test_the_popup_flow(house: House, first: str) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up()
    if first == "message":
        await house.say(code, signed["message"])
        await house.hand_in(code, signed["code"])
    else:
        await house.hand_in(code, signed["code"])
        await house.say(code, signed["message"])
    now = await house.until_active(code)
    assert (now["state"], now["reason"], now["waba_id"]) == ("completed", None, WABA)
    assert await house.calls() == [*PROVE, *SET_UP, ("register", NUMBER)]
    shown = await house.ask("GET", f"{CONNECTIONS}/{WABA}")
    assert (shown["attribution"], shown["token_state"]) == ("tracking_code", "valid")
    assert [n["is_registered"] for n in shown["numbers"]] == [True]


async def test_the_redirect_flow(house: House) -> None:
    await house.meta.put_waba(number())
    started = await house.ask(
        "POST", "/api/v1/whatsapp/onboarding",
        {"organization_id": "bakery", "flow": "redirect"}, status=201,
    )  # fmt: skip
    dialog = URL(started["launch"]["dialog_url"])
    form = {**dialog.query, "waba_id": WABA, "event": "FINISH"}
    async with house.meta.session.post(
        dialog.with_query(None), data=form, allow_redirects=False
    ) as answer:
        assert answer.status == 302
        back = answer.headers["Location"]
    async with house.http.get(back.removeprefix(house.environment["CONSOLE_URL"])) as answer:
        assert answer.status == 200
        assert answer.url.path == f"/connect/{started['tracking_code']}"
    await house.until_active(started["tracking_code"])
    assert await house.calls() == [*PROVE, *SET_UP, ("register", NUMBER)]


async def test_a_waba_without_a_number(house: House) -> None:
    await house.meta.put_waba()
    code = await house.connect(event="FINISH_ONLY_WABA")
    await house.until_active(code)
    assert await house.calls() == [*PROVE, *SET_UP]


async def test_coexistence_syncs_once_and_never_registers(house: House, conn: Conn) -> None:
    await house.meta.put_waba(coexisting())
    code = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await house.until_active(code)
    syncs = [("sync", f"{COEXISTING}:smb_app_state_sync"), ("sync", f"{COEXISTING}:history")]
    assert await house.calls() == [*PROVE, *SET_UP, *syncs]

    async def have_come() -> bool:
        fields = await conn.fetch("SELECT field FROM webhook_changes WHERE waba_id = $1", WABA)
        return {"history", "smb_app_state_sync"} <= {row["field"] for row in fields}

    await eventually(have_come)
    await house.ask("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await eventually(lambda: _has_settled(house))
    assert await house.calls("sync", "register") == syncs


async def _has_settled(house: House) -> bool:
    async with house.pool.acquire() as conn:
        return not await conn.fetchval("SELECT count(*) FROM follow_ups WHERE state = 'pending'")


async def test_nothing_is_synced_before_a_webhook_has_come(house: House, conn: Conn) -> None:
    await house.meta.put_waba(coexisting())
    code = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING", webhooks=False)
    now = await house.until(code, state="provisioning", reason="awaiting_webhook")
    assert now["connection"]["remedy"]["who"] == "nobody"
    assert await house.calls("sync") == []
    await house.meta.happen("PARTNER_ADDED")
    await house.until_active(code)
    assert len(await house.calls("sync")) == 2


async def test_an_existing_override_is_kept(house: House) -> None:
    await house.meta.put_waba(number(), override_callback_uri="https://elsewhere.test/hook")
    token_before = await house.meta.token()
    code = await house.connect()
    await house.until_active(code)
    kept = await house.meta.call("GET", f"{WABA}/subscribed_apps", token_before)
    assert kept.body["data"][0]["override_callback_uri"] == "https://elsewhere.test/hook"
    assert ("subscribe", WABA) not in await house.calls()


async def test_an_orphan_is_claimed_and_gets_what_came_before(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number())
    await house.meta.sign_up()  # its browser never came back
    await house.meta.happen("PARTNER_ADDED")

    async def is_listed() -> list[Any]:
        return (await house.ask("GET", ORPHANS))["orphans"]  # type: ignore[no-any-return]

    [orphan] = await eventually(is_listed)
    assert (orphan["waba_id"], orphan["owner_business_id"]) == (WABA, BUSINESS)
    claim = {"organization_id": "bakery", "actor": "ana", "reason": "they called"}
    await house.ask("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)
    now = await house.until_connection("active")
    assert (now["organization_id"], now["token_state"]) == ("bakery", "valid")
    assert ("fetch_token", BUSINESS) in await house.calls()

    async def is_delivered() -> bool:
        return not await conn.fetchval(
            "SELECT count(*) FROM webhook_changes WHERE organization_id IS DISTINCT FROM 'bakery'"
        )

    await eventually(is_delivered)
    told = await conn.fetchrow("SELECT actor, action, subject, reason FROM audit_log")
    assert told is not None
    assert tuple(told) == (
        "ana by api key test", "orphan.claim", f"{WABA} for bakery", "they called",
    )  # fmt: skip
    again = claim | {"organization_id": "pharmacy"}
    await house.ask("POST", f"{ORPHANS}/{WABA}/claim", again, status=409)
    await house.ask("POST", f"{ORPHANS}/{OTHER_WABA}/claim", claim, status=404)


async def test_an_orphan_whose_token_cannot_be_fetched_needs_a_new_login(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.sign_up()
    await house.meta.happen("PARTNER_ADDED")
    await eventually(lambda: _orphans(house))
    await house.meta.order("POST", "faults", {"call": "fetch_token", "code": 200, "status": 403})
    claim = {"organization_id": "bakery", "actor": "ana", "reason": "they called"}
    await house.ask("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)

    async def is_stuck() -> bool:
        now = await house.ask("GET", f"{CONNECTIONS}/{WABA}")
        return (now["state"], now["reason"]) == ("provisioning", "no_token")

    await eventually(is_stuck)
    await house.until_active(await house.connect())


async def _orphans(house: House) -> list[Any]:
    return (await house.ask("GET", ORPHANS))["orphans"]  # type: ignore[no-any-return]
