"""One-shot rules of numbers: registration and its PIN, the two syncs of coexistence."""

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
    said = {"messaging_product": "whatsapp", "pin": pin}
    return await meta.call("POST", f"{number_id}/register", token, json=said)


async def sync(
    meta: SimulatedMeta, token: str, kind: str = "history", number_id: str = COEXISTING
) -> Answered:
    said = {"messaging_product": "whatsapp", "sync_type": kind}
    return await meta.call("POST", f"{number_id}/smb_app_data", token, json=said)


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
    gone = await meta.call("GET", NUMBER, token, **fields)
    assert (gone.body["platform_type"], gone.body["is_pin_enabled"]) == ("NOT_APPLICABLE", True)


async def test_a_pin_from_before_must_match(meta: SimulatedMeta) -> None:
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


async def test_each_sync_can_be_had_once(meta: SimulatedMeta) -> None:
    await meta.put_waba(coexisting())
    token = await meta.token(COEXISTENCE)

    first = await sync(meta, token)

    assert first.body.keys() == {"messaging_product", "request_id"}
    assert (await sync(meta, token)).error == (2593107, None)
    assert (await sync(meta, token, "smb_app_state_sync")).status == 200
    assert (await sync(meta, token, "everything")).error == (100, None)


async def test_a_sync_is_had_within_24_hours_and_another_signup_does_not_help(
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

    told = {change["field"]: (entry_id, change["value"]) for entry_id, change in changes}
    assert told.keys() == {"smb_app_state_sync", "history"}
    for entry_id, value in told.values():
        assert entry_id == WABA
        assert value["metadata"] == {
            "display_phone_number": "15550001111",
            "phone_number_id": COEXISTING,
        }
    assert told["history"][1]["history"][0]["threads"]
    assert told["smb_app_state_sync"][1]["state_sync"][0]["action"] == "add"
