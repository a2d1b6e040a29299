"""Whatever call to Meta fails is kept with its step and Meta's codes, and shown to its owner."""

import pytest

from shared.store.pool import Conn
from tests.journeys.test_token_health import check_again
from tests.support.onboarding_setup import CHECK, CONNECTIONS, ONBOARDING, Installation
from tests.support.simulated import NUMBER, WABA, number
from tests.support.waiting import eventually

Call = tuple[str, str | None, int]


async def failures(installation: Installation, path: str, *, key: str | None = None) -> list[Call]:
    answer = await installation.request("GET", f"{path}/failed-calls", key=key)
    return [
        (call["step"], call["phone_number_id"], call["code"]) for call in answer["failed_calls"]
    ]


async def test_an_exchange_and_a_proof_are_shown_on_the_onboarding(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "exchange_code", "code": 10})
    code = await installation.start_onboarding()
    await installation.complete_popup(code)
    assert await failures(installation, f"{ONBOARDING}/{code}") == [("exchange_code", None, 10)]
    await installation.meta.order("POST", "faults", {"call": "read_waba", "code": 803})
    await installation.complete_popup(code)
    await installation.until(code, reason="waba_not_granted")
    assert (await failures(installation, f"{ONBOARDING}/{code}"))[0] == ("read_waba", None, 803)


async def test_a_stranger_who_names_a_waba_adds_nothing_to_its_owners_failures(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect("bakery"))
    await installation.meta.order("POST", "faults", {"call": "read_waba", "code": 803})
    code = await installation.connect("stranger")
    await installation.until(code, reason="waba_not_granted")
    assert await failures(installation, f"{CONNECTIONS}/{WABA}") == []


async def test_a_live_check_and_a_disconnect_are_shown_on_the_connection(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    await installation.meta.order("POST", "faults", {"call": "read_subscriptions", "code": 190})
    await check_again(conn)
    await installation.request("GET", f"{CHECK}?waba_id={WABA}&live=true")
    path = f"{CONNECTIONS}/{WABA}"
    assert await failures(installation, path) == [("read_subscriptions", None, 190)]
    await installation.meta.order("POST", "faults", {"call": "deregister", "code": 100})
    asked = {"reason": "the customer left"}
    await installation.request("POST", f"{path}/disconnect", asked, status=202)

    async def is_kept() -> bool:
        await installation.make_follow_ups_due()
        kept = await conn.fetchval("SELECT count(*) FROM failed_calls WHERE step = 'deregister'")
        return bool(kept)

    await eventually(is_kept)
    row = await conn.fetchrow(
        "SELECT subject, phone_number_id, code FROM failed_calls WHERE step = 'deregister'"
    )
    assert row is not None
    assert tuple(row) == (WABA, NUMBER, 100)


async def test_an_answer_that_says_nothing_and_what_an_error_means_in_its_call_are_kept(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    unusable = {"call": "read_numbers", "body": '{"x": 1}', "status": 200}
    await installation.meta.order("POST", "faults", unusable)
    await installation.meta.order("POST", "faults", {"call": "register", "code": 131031})
    await installation.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await installation.connect()
    await installation.until(code, reason="app_token_refused")
    await installation.post_code(code, (await installation.meta.sign_up())["code"])
    await installation.until(code, state="provisioning", reason="pin_or_lock")
    rows = await conn.fetch("SELECT step, reason FROM failed_calls ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("debug_token", "app_token_refused"),
        ("read_numbers", "meta_unavailable"),
        ("register", "pin_or_lock"),
    ]


async def test_a_new_owner_sees_nothing_of_what_failed_for_the_one_before(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "register", "code": 131042})
    code = await installation.connect("bakery")
    await installation.until(code, state="provisioning", reason="payment_missing")
    path = f"{CONNECTIONS}/{WABA}"
    assert len(await failures(installation, path)) == 1
    await installation.request("POST", f"{path}/disconnect", {"reason": "left"}, status=202)
    await installation.until_connection("disconnected")
    await installation.until_active(await installation.connect("pharmacy"))
    assert await failures(installation, path) == []


@pytest.mark.parametrize("call", ["debug_token", "exchange_code"])
async def test_a_failure_that_cannot_be_stored_stops_nothing(
    installation: Installation, conn: Conn, call: str
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": call, "code": 2})
    await conn.execute("ALTER TABLE failed_calls RENAME TO away")
    try:
        await installation.until_active(await installation.connect())
    finally:
        await conn.execute("ALTER TABLE away RENAME TO failed_calls")
