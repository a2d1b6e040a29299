"""Every flow from Meta's dialog to an active connection."""

import pytest

from deploy.local.demo.connect_page import ConnectPage
from shared.store import api_keys
from shared.store.connections import organizations
from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, ONBOARDING, ORPHANS, Installation
from tests.support.sending import WABA as OTHER_WABA
from tests.support.simulated import BUSINESS, COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually

PROVE = [("exchange_code", WABA), ("debug_token", WABA), ("read_waba", WABA)]
SET_UP = [("read_numbers", WABA), ("read_subscriptions", WABA), ("subscribe", WABA)]


@pytest.mark.parametrize("first", ["message", "code"])
async def test_the_popup_flow(installation: Installation, first: str) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up()
    if first == "message":
        await installation.post_session(code, signup["message"])
        await installation.post_code(code, signup["code"])
    else:
        await installation.post_code(code, signup["code"])
        await installation.post_session(code, signup["message"])
    now = await installation.until_active(code)
    assert (now["state"], now["reason"], now["waba_id"]) == ("completed", None, WABA)
    assert await installation.calls() == [*PROVE, *SET_UP, ("register", NUMBER)]
    shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
    assert (shown["attribution"], shown["token_state"]) == ("tracking_code", "valid")
    assert [n["is_registered"] for n in shown["numbers"]] == [True]


async def test_the_redirect_flow(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding(flow="redirect")
    page = await installation.open_page(code)
    back = await page.finish_dialog(WABA)
    assert await installation.come_back(back, page, status=303) == f"/connect/{code}"
    await installation.until_active(code)
    assert await installation.calls() == [*PROVE, *SET_UP, ("register", NUMBER)]


async def test_the_redirect_flow_on_a_page_of_the_company(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    own = "https://app.example.test/back"
    body = {"organization_id": "bakery", "flow": "redirect", "redirect_uri": own}
    started = await installation.request("POST", ONBOARDING, body, status=201)
    facts = {"dialog_url": started["launch"]["dialog_url"]}
    back = await ConnectPage(installation.meta.session, facts, {}).finish_dialog(WABA)
    assert str(back.with_query(None)) == own
    assert back.query["state"] == started["tracking_code"]
    await installation.post_code(started["tracking_code"], back.query["code"])
    await installation.until_active(started["tracking_code"])


async def test_a_waba_without_a_number(installation: Installation) -> None:
    await installation.meta.put_waba()
    code = await installation.connect(event="FINISH_ONLY_WABA")
    await installation.until(code, state="provisioning", reason="no_number")
    assert await installation.calls() == [*PROVE, *SET_UP]


async def test_coexistence_syncs_once_and_never_registers(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(coexisting())
    code = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await installation.until_active(code)
    syncs = [("sync", f"{COEXISTING}:smb_app_state_sync"), ("sync", f"{COEXISTING}:history")]
    assert await installation.calls() == [*PROVE, *SET_UP, *syncs]

    async def are_received() -> bool:
        fields = await conn.fetch("SELECT field FROM webhook_changes WHERE waba_id = $1", WABA)
        return {"history", "smb_app_state_sync"} <= {row["field"] for row in fields}

    await eventually(are_received)
    await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await eventually(lambda: _has_no_pending_follow_ups(installation))
    assert await installation.calls("sync", "register") == syncs


async def _has_no_pending_follow_ups(installation: Installation) -> bool:
    async with installation.pool.acquire() as conn:
        return not await conn.fetchval("SELECT count(*) FROM follow_ups WHERE state = 'pending'")


async def test_nothing_is_synced_before_a_webhook_is_received(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(coexisting())
    code = await installation.connect(
        event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING", webhooks=False
    )
    now = await installation.until(code, state="provisioning", reason="awaiting_webhook")
    assert now["connection"]["remedy"]["who"] == "nobody"
    assert await installation.calls("sync") == []
    await installation.meta.happen("PARTNER_ADDED")
    await installation.until_active(code)
    assert len(await installation.calls("sync")) == 2


async def test_an_existing_override_is_kept(installation: Installation) -> None:
    await installation.meta.put_waba(number(), override_callback_uri="https://elsewhere.test/hook")
    token = await installation.meta.token()
    code = await installation.connect()
    await installation.until_active(code)
    subscriptions = await installation.meta.call("GET", f"{WABA}/subscribed_apps", token)
    assert subscriptions.body["data"][0]["override_callback_uri"] == "https://elsewhere.test/hook"
    assert ("subscribe", WABA) not in await installation.calls()


async def test_a_claimed_orphan_gets_its_earlier_changes(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.sign_up()  # the browser never posts its code
    await installation.meta.happen("PARTNER_ADDED")
    [orphan] = await eventually(installation.orphans)
    assert (orphan["waba_id"], orphan["owner_business_id"]) == (WABA, BUSINESS)
    for organization in ("bakery", "pharmacy"):
        await organizations.add(conn, organization)
    claim = {"organization_id": "bakery", "on_behalf_of": "ana", "reason": "they called"}
    await installation.request("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)
    now = await installation.until_connection("active")
    assert (now["organization_id"], now["token_state"]) == ("bakery", "valid")
    assert ("fetch_token", BUSINESS) in await installation.calls()

    async def is_delivered() -> bool:
        return not await conn.fetchval(
            "SELECT count(*) FROM webhook_changes WHERE organization_id IS DISTINCT FROM 'bakery'"
        )

    await eventually(is_delivered)
    audited = await conn.fetchrow(
        "SELECT actor, on_behalf_of, subject, reason FROM audit_log WHERE action = 'orphan.claim'"
    )
    assert audited is not None
    [key] = await api_keys.listed(conn)
    assert tuple(audited) == (
        f"api key test {key.id}", "ana", f"{WABA} for bakery", "they called",
    )  # fmt: skip
    again = claim | {"organization_id": "pharmacy"}
    await installation.request("POST", f"{ORPHANS}/{WABA}/claim", again, status=409)
    await installation.request("POST", f"{ORPHANS}/{OTHER_WABA}/claim", claim, status=404)


async def test_an_orphan_whose_token_cannot_be_fetched_needs_a_new_login(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.sign_up()
    await installation.meta.happen("PARTNER_ADDED")
    await eventually(installation.orphans)
    await installation.meta.order(
        "POST", "faults", {"call": "fetch_token", "code": 200, "status": 403}
    )
    for organization in ("bakery", "pharmacy"):
        await organizations.add(conn, organization)
    claim = {"organization_id": "bakery", "on_behalf_of": "ana", "reason": "they called"}
    await installation.request("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)

    async def has_no_token() -> bool:
        now = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
        return (now["state"], now["reason"]) == ("provisioning", "no_token")

    await eventually(has_no_token)
    await installation.until_active(await installation.connect())
