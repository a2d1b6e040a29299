"""The simulated Meta's limits: counted by the kind of token, told in headers, then refused."""

import json
from typing import Any

from tests.support.simulated import APP_TOKEN, BUSINESS, NUMBER, WABA, SimulatedMeta, number

OTHER = "720000000000011"
APPS = f"{WABA}/subscribed_apps"


async def app_percent(meta: SimulatedMeta) -> tuple[int, int]:
    """Ask about a token. Return the status of the answer, and the app's usage."""
    params = {"input_token": "EAAguess"}
    answer = await meta.call("GET", "debug_token", APP_TOKEN, proof="", params=params)
    usage = json.loads(answer.headers["X-App-Usage"])
    assert set(usage) == {"call_count", "total_cputime", "total_time"}
    return answer.status, usage["call_count"]


async def waba_usage(meta: SimulatedMeta, token: str, path: str = WABA) -> tuple[int, int, int]:
    """Ask about a WABA. Return the status of the answer, its usage and the minutes to wait."""
    answer = await meta.call("GET", path, token)
    [(business, [usage])] = json.loads(answer.headers["X-Business-Use-Case-Usage"]).items()
    assert (business, usage["type"]) == (BUSINESS, "whatsapp_business_management")
    return answer.status, usage["call_count"], usage["estimated_time_to_regain_access"]


async def limit(meta: SimulatedMeta, **limits: Any) -> None:
    assert "error" not in await meta.order("PUT", "limits", limits)


async def test_the_app_may_make_so_many_calls_an_hour(meta: SimulatedMeta) -> None:
    await limit(meta, app_calls=4)
    assert [await app_percent(meta) for _ in range(4)] == [
        (200, 25), (200, 50), (200, 75), (200, 100),
    ]  # fmt: skip
    meta.time += 1800
    assert await app_percent(meta) == (400, 125)
    assert (await meta.calls())[-1]["code"] == 4
    meta.time += 1800  # the first four are an hour old, the refused one is not
    assert await app_percent(meta) == (200, 50)


async def test_an_hour_can_be_shortened(meta: SimulatedMeta) -> None:
    await limit(meta, app_calls=1, hour_seconds=10)
    assert await app_percent(meta) == (200, 100)
    meta.time += 10
    assert await app_percent(meta) == (200, 100)


async def test_each_waba_has_a_limit_of_its_own_and_uses_none_of_the_apps(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    await meta.put_waba(waba_id=OTHER)
    token = await meta.token()
    other = await meta.token("FINISH_ONLY_WABA", waba_id=OTHER)
    before = await app_percent(meta)
    await limit(meta, waba_calls=2, app_calls=100)
    assert await waba_usage(meta, token) == (200, 50, 0)
    assert await waba_usage(meta, token, NUMBER) == (200, 100, 60)
    meta.time += 600
    assert await waba_usage(meta, token, APPS) == (400, 150, 50)
    assert (await meta.calls())[-1]["code"] == 80008
    assert await waba_usage(meta, other, OTHER) == (200, 50, 0)
    assert (await app_percent(meta))[0] == before[0] == 200


async def test_a_waba_with_a_registered_number_has_the_higher_limit(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    for _ in range(9):
        await meta.call("GET", WABA, token)
    assert await waba_usage(meta, token) == (200, 5, 0)  # 10 of 200
    body = {"messaging_product": "whatsapp", "pin": "271828"}
    assert (await meta.call("POST", f"{NUMBER}/register", token, json=body)).status == 200
    assert await waba_usage(meta, token) == (200, 0, 0)  # 12 of 5,000


async def test_a_message_and_the_system_users_own_calls_use_no_limit(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await limit(meta, waba_calls=1, app_calls=1)
    body = {"messaging_product": "whatsapp", "to": "5511987654321", "text": {"body": "Oi"}}
    sent = [await meta.call("POST", f"{NUMBER}/messages", token, json=body) for _ in range(2)]
    assert 80008 not in [answer.body.get("error", {}).get("code") for answer in sent]
    assert (await meta.fetch()).status == 200
    assert (await waba_usage(meta, token))[0] == 200
