"""What the simulated Graph API answers about WABAs, numbers and subscriptions."""

import json

import pytest

from tests.support.environment import APP_ID
from tests.support.simulated import (
    COEXISTING,
    NUMBER,
    WABA,
    Json,
    SimulatedMeta,
    coexisting,
    number,
)

OVERRIDE = "https://elsewhere.example.org/hook"
SET = {"override_callback_uri": OVERRIDE, "verify_token": "verify-me"}
APPS = f"{WABA}/subscribed_apps"


async def test_a_waba_shows_the_fields_asked_for(meta: SimulatedMeta) -> None:
    await meta.put_waba(number(), name="Bakery")
    token = await meta.token()
    fields = "owner_business_info{id,name},currency,account_review_status"

    answer = await meta.call("GET", WABA, token, params={"fields": fields})
    empty = await meta.call("GET", f"{WABA}/", token, params={"fields": "name,country,status"})
    unknown = await meta.call("GET", WABA, token, params={"fields": "colour"})

    assert answer.body == {
        "id": WABA,
        "owner_business_info": {"name": "Bakery Ltd", "id": "730000000000020"},
        "currency": "USD",
        "account_review_status": "APPROVED",
    }
    assert empty.body == {"id": WABA, "name": "Bakery"}
    assert unknown.error == (100, None)


async def test_a_number_shows_its_status(meta: SimulatedMeta) -> None:
    await meta.put_waba(number(), coexisting())
    token = await meta.token()
    fields: Json = {"params": {"fields": "display_phone_number,platform_type,status,is_on_biz_app"}}

    plain = await meta.call("GET", NUMBER, token, **fields)
    coexists = await meta.call("GET", COEXISTING, token, **fields)

    assert plain.body == {
        "id": NUMBER,
        "display_phone_number": "+1 555-000-1111",
        "platform_type": "NOT_APPLICABLE",
        "status": "PENDING",
        "is_on_biz_app": False,
    }
    assert (coexists.body["platform_type"], coexists.body["is_on_biz_app"]) == ("CLOUD_API", True)


async def test_numbers_come_newest_first_in_pages(meta: SimulatedMeta) -> None:
    ids = [f"74000000000010{n}" for n in range(5)]
    await meta.put_waba(*(number(number_id) for number_id in ids))
    token = await meta.token()
    listed: list[str] = []
    sizes: list[int] = []
    after: dict[str, str] = {}
    is_more = True

    while is_more:
        page = await meta.call(
            "GET", f"{WABA}/phone_numbers", token, params={"limit": "2", "fields": "id", **after}
        )
        listed += [item["id"] for item in page.body["data"]]
        sizes.append(len(page.body["data"]))
        after = {"after": page.body["paging"]["cursors"]["after"]}
        is_more = "next" in page.body["paging"]

    assert listed == ids[::-1]
    assert sizes == [2, 2, 1]


async def test_an_empty_list_has_no_paging(meta: SimulatedMeta) -> None:
    await meta.put_waba()
    token = await meta.token("FINISH_ONLY_WABA")

    assert (await meta.call("GET", f"{WABA}/phone_numbers", token)).body == {"data": []}


@pytest.mark.parametrize("params", [{"after": "rubbish"}, {"limit": "0"}, {"limit": "x"}])
async def test_an_unknown_page_is_refused(meta: SimulatedMeta, params: dict[str, str]) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    answer = await meta.call("GET", f"{WABA}/phone_numbers", token, params=params)

    assert answer.error == (100, None)


async def test_our_app_subscribes_and_unsubscribes(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    assert (await meta.call("GET", APPS, token)).body == {"data": []}

    assert (await meta.call("POST", APPS, token)).body == {"success": True}
    [ours] = (await meta.call("GET", APPS, token)).body["data"]
    assert ours.keys() == {"whatsapp_business_api_data"}
    assert ours["whatsapp_business_api_data"].keys() == {"id", "link", "name"}
    assert ours["whatsapp_business_api_data"]["id"] == APP_ID

    assert (await meta.call("DELETE", APPS, token)).body == {"success": True}
    assert (await meta.call("GET", APPS, token)).body == {"data": []}


@pytest.mark.parametrize("encoding", ["json", "data"])
async def test_an_override_is_set_and_cleared(meta: SimulatedMeta, encoding: str) -> None:
    body: Json = {encoding: SET}
    await meta.put_waba(number())
    token = await meta.token()

    await meta.call("POST", APPS, token, **body)
    [ours] = (await meta.call("GET", APPS, token)).body["data"]
    assert ours["override_callback_uri"] == OVERRIDE

    await meta.call("POST", APPS, token)
    [ours] = (await meta.call("GET", APPS, token)).body["data"]
    assert "override_callback_uri" not in ours


async def test_a_waba_may_already_be_subscribed_with_an_override(meta: SimulatedMeta) -> None:
    await meta.put_waba(number(), override_callback_uri=OVERRIDE)
    token = await meta.token()

    [ours] = (await meta.call("GET", APPS, token)).body["data"]

    assert ours["override_callback_uri"] == OVERRIDE


async def test_an_override_without_a_token_or_too_long_is_refused(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    for wrong in ({"verify_token": ""}, {"override_callback_uri": OVERRIDE + "x" * 200}):
        assert (await meta.call("POST", APPS, token, json=SET | wrong)).error == (100, None)
    assert (await meta.call("GET", APPS, token)).body == {"data": []}


async def test_a_number_has_an_override_of_its_own(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await meta.call("POST", APPS, token, json=SET)
    own = SET | {"override_callback_uri": f"{OVERRIDE}/2"}

    async def overrides() -> Json:
        fields = {"fields": "webhook_configuration"}
        configuration: Json = (await meta.call("GET", NUMBER, token, params=fields)).body[
            "webhook_configuration"
        ]
        return configuration

    levels = {
        "application": (await overrides())["application"],
        "whatsapp_business_account": OVERRIDE,
    }
    assert await overrides() == levels

    await meta.call("POST", NUMBER, token, json={"webhook_configuration": own})
    assert await overrides() == levels | {"phone_number": f"{OVERRIDE}/2"}

    cleared = json.dumps({"override_callback_uri": ""})
    await meta.call("POST", NUMBER, token, data={"webhook_configuration": cleared})
    assert await overrides() == levels
    assert (await meta.call("POST", NUMBER, token)).error == (100, None)
