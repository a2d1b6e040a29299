"""The simulated Meta exchanges a code once, in time, for the app that it was made for."""

import pytest

from tests.support.environment import APP_SECRET
from tests.support.simulated import (
    BUSINESS,
    COEXISTING,
    NUMBER,
    WABA,
    SimulatedMeta,
    coexisting,
    number,
)

URI = "https://app.example.org/callback?x=1"


async def test_a_code_gives_a_token_once(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    signed = await meta.sign_up()

    first = await meta.exchange(signed["code"])
    second = await meta.exchange(signed["code"])

    assert first.status == 200
    assert first.body.keys() == {"access_token", "token_type"}
    assert first.body["token_type"] == "bearer"
    assert (second.status, second.error) == (400, (100, 36009))


async def test_a_token_that_expires_says_so(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    signed = await meta.sign_up(expires_in_seconds=5_184_000)

    assert (await meta.exchange(signed["code"])).body["expires_in"] == 5_184_000


async def test_a_code_lives_30_seconds(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    in_time, late = [(await meta.sign_up())["code"] for _ in range(2)]

    meta.time += 30
    assert (await meta.exchange(in_time)).status == 200
    meta.time += 0.1
    assert (await meta.exchange(late)).error == (100, 36007)


async def test_only_our_app_can_exchange_codes_and_only_its_own(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    ours = (await meta.sign_up())["code"]
    theirs = (await meta.sign_up(app_id="799999999999999"))["code"]

    assert (await meta.exchange(ours, client_id="799999999999999")).error == (100, None)
    assert (await meta.exchange(ours, client_secret=APP_SECRET[::-1])).error == (101, None)
    assert (await meta.exchange(theirs)).error == (100, None)
    assert (await meta.exchange("guess")).error == (100, None)
    assert (await meta.exchange(ours)).status == 200, "a refusal does not use up the code"


async def test_the_redirect_flow_needs_the_same_uri_and_the_popup_needs_none(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    redirected = (await meta.sign_up(redirect_uri=URI))["code"]
    popup = (await meta.sign_up())["code"]

    assert (await meta.exchange(redirected)).error == (100, 36008)
    assert (await meta.exchange(redirected, redirect_uri=f"{URI}&y=2")).error == (100, 36008)
    assert (await meta.exchange(redirected, redirect_uri=URI)).status == 200
    assert (await meta.exchange(popup, redirect_uri=URI)).error == (100, 36008)
    assert (await meta.exchange(popup)).status == 200


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("FINISH", {"phone_number_id": NUMBER, "waba_id": WABA, "business_id": BUSINESS}),
        ("FINISH_ONLY_WABA", {"waba_id": WABA, "business_id": BUSINESS}),
        ("FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING", {"waba_id": WABA}),
    ],
)
async def test_the_browser_gets_the_kind_of_signup(
    meta: SimulatedMeta, event: str, data: dict[str, str]
) -> None:
    await meta.put_waba(number("740000000000059"), number(), coexisting())

    signed = await meta.sign_up(event)

    assert signed["message"] == {
        "type": "WA_EMBEDDED_SIGNUP",
        "event": event,
        "data": data,
        "version": 3,
    }
    assert COEXISTING not in str(signed["message"])


async def test_a_signup_sends_a_webhook_unless_ordered_not_to(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    await meta.sign_up()
    await meta.sign_up(app_id="799999999999999", webhooks=True)
    await meta.sign_up(webhooks=True)

    [(entry_id, change)] = await meta.changes(1)

    assert entry_id == "710000000000001"
    assert change["field"] == "account_update"
    assert change["value"] == {
        "event": "PARTNER_ADDED",
        "waba_info": {"waba_id": WABA, "owner_business_id": BUSINESS},
    }
    assert len(meta.webhooks) == 1


async def test_an_impossible_signup_is_refused(meta: SimulatedMeta) -> None:
    await meta.put_waba()

    for event in ("FINISH", "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"):
        refused = await meta.sign_up(event)
        assert (refused["status"], refused["error"][0]["type"]) == (400, "unfit")
    assert (await meta.sign_up(waba_id="1"))["status"] == 400
