"""Rules of numbers in the simulated Meta: registration with its PIN, and the two syncs."""

from tests.support.simulated import (
    COEXISTING,
    NUMBER,
    WABA,
    Answered,
    Json,
    SimulatedMeta,
    coexisting,
    number,
)

HOUR = 3600
COEXISTENCE = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"


async def register(
    meta: SimulatedMeta, token: str, pin: str = "123456", number_id: str = NUMBER
) -> Answered:
    body = {"messaging_product": "whatsapp", "pin": pin}
    return await meta.call("POST", f"{number_id}/register", token, json=body)


async def sync(
    meta: SimulatedMeta, token: str, kind: str = "history", number_id: str = COEXISTING
) -> Answered:
    body = {"messaging_product": "whatsapp", "sync_type": kind}
    return await meta.call("POST", f"{number_id}/smb_app_data", token, json=body)


async def test_registering_sets_the_pin_and_puts_the_number_on_the_cloud_api(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    fields: Json = {"params": {"fields": "platform_type,is_pin_enabled"}}

    assert (await register(meta, token)).body == {"success": True}
    after = await meta.call("GET", NUMBER, token, **fields)
    assert (after.body["platform_type"], after.body["is_pin_enabled"]) == ("CLOUD_API", True)

    assert (await register(meta, token, "654321")).error == (133005, None)
    assert (await meta.call("POST", f"{NUMBER}/deregister", token)).body == {"success": True}
    deregistered = await meta.call("GET", NUMBER, token, **fields)
    assert (deregistered.body["platform_type"], deregistered.body["is_pin_enabled"]) == (
        "NOT_APPLICABLE",
        True,
    )


async def test_an_earlier_pin_must_match(meta: SimulatedMeta) -> None:
    await meta.put_waba(number(pin="111222"))
    token = await meta.token()

    assert (await register(meta, token)).error == (133005, None)
    assert (await register(meta, token, "12345")).error == (100, None)
    assert (await register(meta, token, "111222")).status == 200


async def test_a_number_is_registered_10_times_in_72_hours_at_most(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await register(meta, token)
    meta.time += HOUR
    for _ in range(9):
        assert (await register(meta, token, "654321")).error == (133005, None)

    limited = await register(meta, token)
    assert (limited.status, limited.error) == (400, (133016, None))
    meta.time += 71 * HOUR
    assert (await register(meta, token)).status == 200
    assert (await register(meta, token)).error == (133016, None)


async def test_a_coexistence_number_is_never_registered(meta: SimulatedMeta) -> None:
    await meta.put_waba(coexisting())
    token = await meta.token(COEXISTENCE)

    assert (await register(meta, token, number_id=COEXISTING)).error == (100, 2388012)
    deregistered = await meta.call("POST", f"{COEXISTING}/deregister", token)
    assert deregistered.error == (100, 2388012)
    assert [entry["call"] for entry in await meta.calls()][-2:] == ["register", "deregister"]


async def test_each_sync_can_be_requested_once(meta: SimulatedMeta) -> None:
    await meta.put_waba(coexisting())
    token = await meta.token(COEXISTENCE)

    first = await sync(meta, token)

    assert first.body.keys() == {"messaging_product", "request_id"}
    assert (await sync(meta, token)).error == (2593107, None)
    assert (await sync(meta, token, "smb_app_state_sync")).status == 200
    assert (await sync(meta, token, "everything")).error == (100, None)


async def test_a_sync_is_possible_within_24_hours_and_another_signup_does_not_help(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(coexisting())
    token = await meta.token(COEXISTENCE)

    meta.time += 24 * HOUR
    assert (await sync(meta, token)).status == 200
    meta.time += 1
    assert (await sync(meta, token, "smb_app_state_sync")).error == (2593108, None)
    token = await meta.token(COEXISTENCE)
    assert (await sync(meta, token, "smb_app_state_sync")).error == (2593108, None)

    await meta.happen("ACCOUNT_OFFBOARDED", webhook=False)
    assert (await sync(meta, token)).error == (100, None)
    token = await meta.token(COEXISTENCE)
    for kind in ("smb_app_state_sync", "history"):
        assert (await sync(meta, token, kind)).status == 200


async def test_only_a_coexistence_number_is_synced(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    assert (await sync(meta, token, number_id=NUMBER)).error == (100, None)


async def test_a_sync_comes_as_a_webhook_if_our_app_is_subscribed(meta: SimulatedMeta) -> None:
    await meta.put_waba(coexisting(), number())
    token = await meta.token(COEXISTENCE)
    await sync(meta, token)
    await meta.call("POST", f"{WABA}/subscribed_apps", token)
    await sync(meta, token, "smb_app_state_sync")
    await meta.happen("ACCOUNT_OFFBOARDED", webhook=False)
    await meta.happen("ACCOUNT_RECONNECTED", webhook=False)
    await sync(meta, token)

    changes = await meta.changes(2)

    by_field = {change["field"]: (entry_id, change["value"]) for entry_id, change in changes}
    assert by_field.keys() == {"smb_app_state_sync", "history"}
    for entry_id, value in by_field.values():
        assert entry_id == WABA
        assert value["metadata"] == {
            "display_phone_number": "15550001111",
            "phone_number_id": COEXISTING,
        }
    assert by_field["history"][1]["history"][0]["threads"]
    assert by_field["smb_app_state_sync"][1]["state_sync"][0]["action"] == "add"
