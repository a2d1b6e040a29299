"""Later events of a WABA change what its tokens can do, and are sent as webhooks."""

from typing import Any

import pytest

from tests.support.environment import APP_ID
from tests.support.simulated import BUSINESS, COEXISTING, WABA, SimulatedMeta, coexisting, number

PARTNER = "710000000000001"
INFO = {"waba_id": WABA, "owner_business_id": BUSINESS}
OURS = INFO | {"partner_app_id": APP_ID}
APPS = f"{WABA}/subscribed_apps"


@pytest.mark.parametrize(
    ("order", "entry_id", "value"),
    [
        ({"event": "PARTNER_ADDED"}, PARTNER, {"waba_info": INFO}),
        ({"event": "PARTNER_REMOVED"}, PARTNER, {"waba_info": INFO}),
        ({"event": "PARTNER_APP_INSTALLED"}, PARTNER, {"waba_info": OURS}),
        ({"event": "PARTNER_APP_UNINSTALLED"}, PARTNER, {"waba_info": OURS}),
        ({"event": "ACCOUNT_OFFBOARDED"}, WABA, {}),
        ({"event": "ACCOUNT_RECONNECTED"}, WABA, {}),
        ({"event": "ACCOUNT_DELETED"}, WABA, {}),
        (
            {"event": "DISABLED_UPDATE", "ban_state": "SCHEDULE_FOR_DISABLE"},
            WABA,
            {
                "ban_info": {
                    "waba_ban_state": "SCHEDULE_FOR_DISABLE",
                    "waba_ban_date": "September 21, 2026",
                }
            },
        ),
        (
            {"event": "PARTNER_REMOVED", "disconnection_reason": "CHANGE_NUMBER"},
            WABA,
            {
                "phone_number": "15550001111",
                "disconnection_info": {"reason": "CHANGE_NUMBER", "initiated_by": "USER"},
            },
        ),
    ],
)
async def test_an_event_is_sent_as_meta_sends_it(
    meta: SimulatedMeta, order: dict[str, Any], entry_id: str, value: dict[str, Any]
) -> None:
    await meta.put_waba(coexisting())

    answer = await meta.happen(**order)

    assert [sent["status"] for sent in answer["sent"]] == [200]
    change = {"field": "account_update", "value": {"event": order["event"], **value}}
    assert await meta.changes(1) == [(entry_id, change)]
    assert meta.webhooks[0]["entry"][0]["time"] == int(meta.time)


async def test_an_event_may_happen_without_a_webhook(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())

    assert await meta.happen("ACCOUNT_DELETED", webhook=False) == {"sent": []}
    assert meta.webhooks == []


async def test_an_unshared_waba_is_unreachable_until_it_is_shared_again(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await meta.call("POST", APPS, token)

    await meta.happen("PARTNER_REMOVED", webhook=False)
    data = await meta.debug(token)
    assert (await meta.call("GET", WABA, token)).error == (100, 33)
    assert data["is_valid"] is True
    assert [scope["target_ids"] for scope in data["granular_scopes"]] == [[], []]
    assert (await meta.fetch()).error == (100, 33)

    await meta.happen("PARTNER_ADDED", webhook=False)
    assert (await meta.call("GET", WABA, token)).status == 200
    assert (await meta.call("GET", APPS, token)).body == {"data": []}


async def test_an_uninstall_revokes_the_tokens_for_good(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    await meta.happen("PARTNER_APP_UNINSTALLED", webhook=False)
    assert (await meta.call("GET", WABA, token)).error == (190, 458)
    assert (await meta.debug(token))["error"]["subcode"] == 458

    await meta.happen("PARTNER_APP_INSTALLED", webhook=False)
    assert (await meta.call("GET", WABA, token)).error == (190, 458)
    fetched = (await meta.fetch()).body["access_token"]
    assert (await meta.call("GET", APPS, fetched)).body == {"data": []}


async def test_a_banned_waba_is_blocked_until_it_is_reinstated(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    async def ban(state: str) -> int:
        await meta.happen("DISABLED_UPDATE", ban_state=state, webhook=False)
        answer = await meta.call("GET", WABA, token)
        assert answer.status == 200 or answer.error == (368, None)
        return answer.status

    assert [await ban(s) for s in ("SCHEDULE_FOR_DISABLE", "DISABLE", "REINSTATE")] == [
        200,
        403,
        200,
    ]


async def test_a_deleted_waba_is_gone(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    await meta.happen("ACCOUNT_DELETED", webhook=False)

    assert (await meta.call("GET", WABA, token)).error == (100, 33)
    assert (await meta.happen("PARTNER_ADDED"))["status"] == 400
    assert (await meta.sign_up())["status"] == 400


async def test_an_offboarded_number_is_off_the_cloud_api_until_it_reconnects(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(coexisting())
    token = await meta.token("FINISH_ONLY_WABA")
    statuses = []

    for event in ("ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED"):
        await meta.happen(event, webhook=False)
        answer = await meta.call(
            "GET", COEXISTING, token, params={"fields": "platform_type,status"}
        )
        statuses.append((answer.body["platform_type"], answer.body["status"]))

    assert statuses == [("NOT_APPLICABLE", "DISCONNECTED"), ("CLOUD_API", "CONNECTED")]
