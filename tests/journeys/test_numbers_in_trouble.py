"""What goes wrong with one number costs nothing else, and what Meta mends goes on."""

import time
from typing import Any

import pytest

from shared.store.pool import Conn
from tests.journeys.test_numbers import COEXISTENCE, SECOND, another, told_states, until_states
from tests.journeys.test_token_health import check_again
from tests.support.onboarding_setup import CHECK, CONNECTIONS, Installation
from tests.support.simulated import COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually

PATH = f"{CONNECTIONS}/{WABA}"


async def connect_all(installation: Installation, event: str = "FINISH") -> str:
    """Complete a login that names no number. Without coexistence each is to be registered."""
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    message = {"event": event, "data": {"waba_id": WABA}}
    await installation.post_session(code, message)
    await installation.post_code(code, signup["code"])
    return code


async def check(installation: Installation, conn: Conn) -> None:
    await check_again(conn)
    await installation.request("GET", f"{CHECK}?waba_id={WABA}&live=true")


async def test_a_number_that_waits_revives_no_dead_token(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number(), another(SECOND, "15550001112"))
    limited = {"call": "register", "code": 133016, "subject": SECOND}
    await installation.meta.order("POST", "faults", limited)
    await installation.until_active(await connect_all(installation))
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    for _ in range(2):
        await check(installation, conn)
    before = "SELECT due_at FROM follow_ups WHERE kind = 'provision' AND state = 'pending'"
    due_at = await conn.fetchval(before)
    await installation.make_follow_ups_due()

    async def has_rested() -> bool:
        return await conn.fetchval(before) not in (None, due_at)

    await eventually(has_rested)
    assert await conn.fetchval("SELECT token_state FROM whatsapp_connections") == "revoked"


@pytest.mark.parametrize(
    ("status", "reason"), [("BANNED", "number_banned"), ("DISCONNECTED", None)]
)
async def test_when_no_number_works_any_more_the_connection_does_not_either(
    installation: Installation, conn: Conn, status: str, reason: str | None
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    await installation.meta.order("PUT", f"numbers/{NUMBER}", {"status": status})
    if reason is None:
        refused = {"call": "register", "code": 133006}
        await installation.meta.order("POST", "faults", refused)
        reason = "not_verified"
    await check(installation, conn)

    async def is_told() -> bool:
        shown = await installation.request("GET", PATH)
        return bool((shown["state"], shown["reason"]) == ("provisioning", reason))

    await eventually(is_told)
    assert (NUMBER, "blocked", reason) in await told_states(conn)
    await installation.meta.order("PUT", f"numbers/{NUMBER}", {"status": ""})
    await installation.request("POST", f"{PATH}/provision", status=202)
    await check(installation, conn)
    await installation.until_connection("active")


async def offboard_unheard(installation: Installation, conn: Conn) -> None:
    """Connect a number on the app. Let Meta cut its link without a webhook, and check."""
    await installation.meta.put_waba(coexisting())
    await installation.until_active(await installation.connect(event=COEXISTENCE))
    world = installation.meta.world
    assert world is not None
    await check(installation, conn)  # Meta lists it as connected
    for each in world.wabas[WABA].numbers:
        each.offboard()
    await check(installation, conn)


async def test_a_cut_link_is_known_by_a_check_if_its_webhook_was_lost(
    installation: Installation, conn: Conn
) -> None:
    await offboard_unheard(installation, conn)
    shown = await installation.request("GET", PATH)
    assert (shown["state"], shown["reason"]) == ("disconnected", "account_disconnected")
    assert shown["numbers"][0]["state"] == "unlinked"
    assert (COEXISTING, "unlinked", "account_disconnected") in await told_states(conn)


async def test_a_link_that_is_back_is_known_by_a_check(
    installation: Installation, conn: Conn
) -> None:
    await offboard_unheard(installation, conn)
    world = installation.meta.world
    assert world is not None
    world.wabas[WABA].share(time.time())  # connected again, without a webhook
    await conn.execute("UPDATE connection_facts SET at = at - interval '2 minutes'")
    await check(installation, conn)
    await installation.until_connection("active")


async def test_a_waba_that_lost_its_last_number_does_not_work(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    world = installation.meta.world
    assert world is not None
    [taken] = world.wabas[WABA].numbers
    world.wabas[WABA].numbers.clear()
    await check(installation, conn)
    shown = await installation.request("GET", PATH)
    assert (shown["state"], shown["reason"]) == ("provisioning", "no_number")

    world.wabas[WABA].numbers.append(taken)
    await check(installation, conn)
    await installation.until_connection("active")


async def test_a_pin_registers_no_number_that_nobody_asked_for(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number(), another(SECOND, "15550001112", pin="271828"))
    late = {"call": "sync", "code": 100, "times": 50}  # Meta does not say yet what is on the app
    await installation.meta.order("POST", "faults", late)
    code = await connect_all(installation, COEXISTENCE)
    blocked = ("blocked", "not_on_app")
    await until_states(installation, {NUMBER: blocked, SECOND: blocked})
    await installation.request("POST", f"{PATH}/numbers/{SECOND}/register", status=202)
    await until_states(installation, {NUMBER: blocked, SECOND: ("blocked", "pin_needed")})
    status, _ = await installation.post_on_page(code, "pin", {"pin": "271828"})
    assert status == 200
    await until_states(installation, {NUMBER: blocked, SECOND: ("working", None)})
    assert {subject for _, subject in await installation.calls("register")} == {SECOND}


async def test_each_number_is_asked_for_its_own_pin(installation: Installation) -> None:
    await installation.meta.put_waba(
        number(pin="111111"), another(SECOND, "15550001112", pin="222222")
    )
    code = await connect_all(installation)
    needed = ("blocked", "pin_needed")
    await until_states(installation, {NUMBER: needed, SECOND: needed})
    pin = {"pin": "222222", "digits": "15550001112"}
    status, _ = await installation.post_on_page(code, "pin", pin)
    assert status == 200
    await until_states(installation, {NUMBER: needed, SECOND: ("working", None)})
    assert len(await installation.calls("register")) == 3


async def test_a_number_whose_two_step_verification_is_off_is_registered_without_a_pin(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number(pin="111111"))
    await installation.connect()
    await until_states(installation, {NUMBER: ("blocked", "pin_needed")})
    for left in (2, 1, 0):
        path = f"{PATH}/numbers/{NUMBER}/pin"
        await installation.request("POST", path, {"pin": f"11111{left + 2}"}, status=202)
        reason = "pin_wrong" if left else "pin_limited"
        await until_states(installation, {NUMBER: ("blocked", reason)})
    assert installation.meta.world is not None
    installation.meta.world.wabas[WABA].numbers[0].pin = None
    await installation.request("POST", f"{PATH}/numbers/{NUMBER}/register", status=202)
    await installation.until_connection("active")


@pytest.mark.parametrize(
    ("setting", "fault", "reason", "mended"),
    [
        ({"verification": "EXPIRED"}, 133006, "not_verified", {"verification": "VERIFIED"}),
        ({"name_status": "PENDING_REVIEW"}, None, "name_under_review",
         {"name_status": "APPROVED", "webhook": False}),
    ],
)  # fmt: skip
async def test_what_meta_mended_without_a_webhook_goes_on_after_a_check(
    installation: Installation,
    conn: Conn,
    setting: dict[str, Any],
    fault: int | None,
    reason: str,
    mended: dict[str, Any],
) -> None:
    await installation.meta.put_waba(number(**setting))
    if fault:
        await installation.meta.order("POST", "faults", {"call": "register", "code": fault})
    await installation.connect()
    await until_states(installation, {NUMBER: ("blocked", reason)})
    await installation.meta.order("PUT", f"numbers/{NUMBER}", mended)
    await check(installation, conn)
    await installation.until_connection("active")


async def test_an_outage_at_a_sync_blocks_nobody(installation: Installation) -> None:
    await installation.meta.put_waba(coexisting())
    outage = {"call": "sync", "code": 2, "times": 6}
    await installation.meta.order("POST", "faults", outage)
    await installation.until_active(await installation.connect(event=COEXISTENCE))


async def test_a_number_that_waits_for_meta_is_told(installation: Installation, conn: Conn) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "register", "code": 133016})
    await installation.connect()

    async def is_told() -> bool:
        return await told_states(conn) == [(NUMBER, "waiting", "register_limited")]

    await eventually(is_told)
