"""Our app at the simulated Meta: its token, and where its webhooks are sent."""

import pytest

from deploy.local.simulated_meta.world import FIELDS
from tests.support.environment import APP_ID, APP_SECRET, VERIFY_TOKEN
from tests.support.simulated import APP_TOKEN, SimulatedMeta, number

SUBSCRIPTIONS = f"{APP_ID}/subscriptions"
OBJECT = "whatsapp_business_account"


async def test_the_app_gets_its_token_for_its_secret(meta: SimulatedMeta) -> None:
    params = {"grant_type": "client_credentials", "client_id": APP_ID}

    right = await meta.call(
        "GET", "oauth/access_token", params=params | {"client_secret": APP_SECRET}
    )
    wrong = await meta.call(
        "GET", "oauth/access_token", params=params | {"client_secret": APP_SECRET[::-1]}
    )

    assert right.body == {"access_token": APP_TOKEN, "token_type": "bearer"}
    assert wrong.error == (101, None)


async def test_only_subscribed_fields_are_sent(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    order = {
        "object": OBJECT,
        "callback_url": await _callback_url(meta),
        "verify_token": VERIFY_TOKEN,
        "fields": "messages,account_update",
    }

    all_fields = await _fields(meta)
    subscribed = await meta.call("POST", SUBSCRIPTIONS, APP_TOKEN, proof="", params=order)
    some_fields = await _fields(meta)
    added = await meta.happen("PARTNER_ADDED")
    await meta.call(
        "POST", SUBSCRIPTIONS, APP_TOKEN, proof="", params=order | {"fields": "messages"}
    )
    removed = await meta.happen("PARTNER_REMOVED")
    await meta.call("DELETE", SUBSCRIPTIONS, APP_TOKEN, proof="")
    nothing = await meta.call("GET", SUBSCRIPTIONS, APP_TOKEN, proof="")

    assert all_fields == sorted(FIELDS)
    assert subscribed.body == {"success": True}
    assert some_fields == ["account_update", "messages"]
    assert [sent["status"] for sent in added["sent"]] == [200]
    assert removed["sent"] == []
    assert nothing.body == {"data": []}


@pytest.mark.parametrize(
    ("changes", "token", "code"),
    [
        ({"verify_token": "guess"}, APP_TOKEN, 2200),
        ({"callback_url": "http://127.0.0.1:1/webhook"}, APP_TOKEN, 2200),
        ({"callback_url": "not a URL"}, APP_TOKEN, 2200),
        ({"callback_url": ""}, APP_TOKEN, 100),
        ({"object": "page"}, APP_TOKEN, 100),
        ({"fields": "messages,colour"}, APP_TOKEN, 100),
        ({}, "EAAguess", 15),
    ],
)
async def test_a_callback_url_must_answer_the_challenge(
    meta: SimulatedMeta, changes: dict[str, str], token: str, code: int
) -> None:
    url = await _callback_url(meta)
    order = {"object": OBJECT, "callback_url": url, "verify_token": VERIFY_TOKEN}

    answer = await meta.call("POST", SUBSCRIPTIONS, token, proof="", params=order | changes)

    assert answer.error == (code, None)
    assert await _callback_url(meta) == url


async def _subscription(meta: SimulatedMeta) -> dict[str, object]:
    answer = await meta.call("GET", SUBSCRIPTIONS, APP_TOKEN, proof="")
    [subscription] = answer.body["data"]
    found: dict[str, object] = subscription
    return found


async def _callback_url(meta: SimulatedMeta) -> str:
    return str((await _subscription(meta))["callback_url"])


async def _fields(meta: SimulatedMeta) -> list[str]:
    fields = (await _subscription(meta))["fields"]
    assert isinstance(fields, list)
    return [field["name"] for field in fields]
