"""Orders to the simulator: it sends the ordered webhooks, and refuses impossible orders."""

from base64 import b64encode

import pytest

from tests.support.simulated import WABA, SimulatedMeta, number

BODY = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": []}]}


async def test_webhooks_are_sent_as_ordered_and_remembered(meta: SimulatedMeta) -> None:
    raw = b64encode(b'{"object":"raw"}').decode()

    answer = await meta.order("POST", "webhooks", {"bodies": [BODY], "raw": [raw], "copies": 2})

    assert [(sent["status"], sent["attempts"]) for sent in answer["sent"]] == [(200, 1)] * 4
    assert [webhook["object"] for webhook in meta.webhooks].count("raw") == 2
    assert await meta.order("GET", "webhooks") == answer


@pytest.mark.parametrize(
    ("method", "path", "order"),
    [
        ("POST", "webhooks", {"raw": ["not base64"]}),
        ("POST", "webhooks", {"colour": "red"}),
        ("PUT", f"wabas/{WABA}", {"numbers": []}),
        ("PUT", f"wabas/{WABA}", {"business_id": "1", "numbers": [number(pin="12")]}),
        ("POST", f"wabas/{WABA}/events", {"event": "PARTNER_ADDED"}),
        ("POST", "signups", {"waba_id": WABA, "event": "CANCEL"}),
        ("POST", "tokens/revoke", {"waba_id": WABA}),
        ("PUT", "limits", {"app_calls": 0}),
        ("PUT", "limits", {"hour_seconds": 0}),
    ],
)
async def test_an_impossible_order_is_refused(
    meta: SimulatedMeta, method: str, path: str, order: dict[str, object]
) -> None:
    answer = await meta.order(method, path, order)

    assert answer["status"] == 400
    assert answer["error"]


async def test_a_waba_is_replaced_whole_and_no_number_is_in_two(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    await meta.put_waba(number())
    order = {"business_id": "1", "numbers": [number()]}
    twice = await meta.order("PUT", "wabas/720000000000011", order)

    assert (await meta.call("GET", WABA, token)).error == (100, 33)
    assert twice["status"] == 400
