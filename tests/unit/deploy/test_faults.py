"""Faults and ledger of the simulated Meta: errors for clients, and a list of their calls."""

import json
import time

import aiohttp
import pytest

from tests.support.environment import APP_SECRET, SYSTEM_TOKEN
from tests.support.simulated import BUSINESS, NUMBER, WABA, SimulatedMeta, coexisting, number

APPS = f"{WABA}/subscribed_apps"


async def test_the_next_calls_fail_as_ordered(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    fault = {"call": "read_waba", "times": 2, "code": 80008, "subcode": 7, "is_transient": True}
    await meta.order("POST", "faults", fault | {"headers": {"Retry-After": "60"}})

    answers = [await meta.call("GET", WABA, token) for _ in range(3)]

    assert [answer.status for answer in answers] == [400, 400, 200]
    assert answers[0].error == (80008, 7)
    assert answers[0].body["error"]["is_transient"] is True
    assert answers[0].headers["Retry-After"] == "60"
    assert (await meta.call("GET", NUMBER, token)).status == 200


async def test_a_fault_can_be_for_one_subject_and_can_be_removed(meta: SimulatedMeta) -> None:
    await meta.put_waba(number(), coexisting())
    token = await meta.token()
    fault = {"call": "sync", "subject": "740000000000061:history", "code": 1, "status": 500}
    assert await meta.order("POST", "faults", fault) == {"armed": 1}

    async def sync(kind: str) -> int:
        body = {"messaging_product": "whatsapp", "sync_type": kind}
        path = "740000000000061/smb_app_data"
        return (await meta.call("POST", path, token, json=body)).status

    assert await sync("smb_app_state_sync") == 200
    assert await meta.order("DELETE", "faults") == {"armed": 0}
    assert await sync("history") == 200


async def test_a_failed_call_has_no_effect_and_a_dropped_connection_has_the_full_effect(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await meta.order("POST", "faults", {"call": "subscribe", "code": 2, "status": 503})
    await meta.order("POST", "faults", {"call": "subscribe", "drop": True})

    assert (await meta.call("POST", APPS, token)).error == (2, None)
    assert (await meta.call("GET", APPS, token)).body == {"data": []}
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await meta.call("POST", APPS, token)

    assert len((await meta.call("GET", APPS, token)).body["data"]) == 1
    subscribed = [entry for entry in await meta.calls() if entry["call"] == "subscribe"]
    assert [(entry["status"], entry["code"]) for entry in subscribed] == [(503, 2), (0, None)]


async def test_an_answer_can_be_late_or_garbage(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await meta.order("POST", "faults", {"call": "read_waba", "seconds": 0.2})
    started = time.monotonic()
    assert (await meta.call("GET", WABA, token)).status == 200
    assert time.monotonic() - started >= 0.2

    await meta.order("POST", "faults", {"call": "read_waba", "body": "<html>", "status": 502})
    with pytest.raises(json.JSONDecodeError):
        await meta.call("GET", WABA, token)
    assert [entry["status"] for entry in await meta.calls()][-1] == 502


@pytest.mark.parametrize(
    "wrong",
    [
        {"call": "fly"},
        {"call": "sync", "colour": "red"},
        {"call": "sync", "status": 500},
        {"call": "sync", "subcode": 1},
        {"call": "sync", "code": 1, "drop": True},
    ],
)
async def test_an_impossible_fault_is_refused(
    meta: SimulatedMeta, wrong: dict[str, object]
) -> None:
    answer = await meta.order("POST", "faults", wrong)

    assert answer["status"] == 400
    assert answer["error"]


async def test_the_ledger_has_every_call_and_no_secret(meta: SimulatedMeta) -> None:
    await meta.put_waba(coexisting(), number())
    signed = await meta.sign_up()
    token = (await meta.exchange(signed["code"])).body["access_token"]
    await meta.debug(token)
    await meta.call("GET", "me", token)
    await meta.fetch()
    await meta.call("GET", f"{WABA}/phone_numbers", token)
    await meta.call("GET", NUMBER, token)
    await meta.call("GET", "1", token)
    await meta.call("GET", f"{WABA}/product_catalogs", token)

    calls = await meta.calls()

    assert [
        (entry["call"], entry["subject"], entry["status"], entry["code"]) for entry in calls
    ] == [
        ("exchange_code", WABA, 200, None),
        ("debug_token", WABA, 200, None),
        ("read_me", WABA, 200, None),
        ("fetch_token", BUSINESS, 200, None),
        ("read_numbers", WABA, 200, None),
        ("read_number", NUMBER, 200, None),
        ("read_waba", "1", 400, 100),
        ("unknown", f"/{WABA}/product_catalogs", 400, 2500),
    ]
    assert [entry["number"] for entry in calls] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert calls[0]["at"] == "2026-09-21T14:13:20.000+00:00"
    assert await meta.calls(after=7) == calls[7:]
    assert (await meta.order("GET", "calls?after=x"))["status"] == 400
    for secret in (token, signed["code"], SYSTEM_TOKEN, APP_SECRET):
        assert secret not in json.dumps(calls)
