"""WABAs of several numbers: each is set up, fails and is told by its own story alone."""

import time
from typing import Any

from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, Installation
from tests.support.simulated import COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually

SECOND = "740000000000062"
THIRD = "740000000000063"
COEXISTENCE = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"
Json = dict[str, Any]


def another(number_id: str, phone: str, **more: Any) -> Json:
    return number(number_id, **{"display_phone_number": phone, **more})


async def states(installation: Installation) -> dict[str, tuple[str, str | None]]:
    shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
    return {n["phone_number_id"]: (n["state"], n["reason"]) for n in shown["numbers"]}


async def until_states(
    installation: Installation, expected: dict[str, tuple[str, str | None]]
) -> None:
    """Wait until the connection is there, and its numbers stand like this."""

    async def reached() -> bool:
        await installation.make_follow_ups_due()
        path = f"{CONNECTIONS}/{WABA}"
        headers = {"Authorization": f"Bearer {installation.key}"}
        async with installation.http.get(path, headers=headers) as answer:
            return answer.status == 200 and await states(installation) == expected

    await eventually(reached)


async def told_states(conn: Conn) -> list[tuple[str, str, str | None]]:
    rows = await conn.fetch(
        "SELECT data -> 'number' ->> 'phone_number_id' AS id, data -> 'number' ->> 'now' AS state,"
        " data -> 'number' ->> 'reason' AS reason FROM events"
        " WHERE type = 'connection.number_state' ORDER BY id"
    )
    return [(row["id"], row["state"], row["reason"]) for row in rows]


async def test_an_unverified_number_stops_no_other(installation: Installation, conn: Conn) -> None:
    await installation.meta.put_waba(
        number(), another(SECOND, "15550001112", verification="NOT_VERIFIED")
    )
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    del signup["message"]["data"]["phone_number_id"]  # a dialog that names none
    await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    await installation.until_active(code)
    assert await states(installation) == {
        NUMBER: ("working", None), SECOND: ("blocked", "not_verified"),
    }  # fmt: skip
    assert await installation.calls("register") == [("register", NUMBER)]
    assert await told_states(conn) == [(SECOND, "blocked", "not_verified")]
    await installation.meta.order("PUT", f"numbers/{SECOND}", {"verification": "VERIFIED"})
    await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await until_states(installation, {NUMBER: ("working", None), SECOND: ("working", None)})
    assert (await told_states(conn))[-1] == (SECOND, "working", None)


async def test_a_limit_of_one_number_is_its_own(installation: Installation) -> None:
    await installation.meta.put_waba(number(), another(SECOND, "15550001112"))
    await installation.meta.order(
        "POST", "faults", {"call": "register", "code": 133016, "subject": SECOND}
    )
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    del signup["message"]["data"]["phone_number_id"]
    await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    await installation.until_active(code)
    assert await states(installation) == {
        NUMBER: ("working", None), SECOND: ("waiting", "register_limited"),
    }  # fmt: skip
    assert len(await installation.calls("register")) == 2
    shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
    assert (shown["reason"], [n["next_attempt_at"] is None for n in shown["numbers"]]) == (
        None, [True, False],
    )  # fmt: skip
    refused = await installation.request(
        "POST", f"{CONNECTIONS}/{WABA}/numbers/{SECOND}/pin", {"pin": "123456"}, status=409
    )
    assert refused["code"] == "pin_refused"


async def test_only_the_number_that_the_dialog_named_is_registered(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number(), another(SECOND, "15550001112"))
    await installation.until_active(await installation.connect())  # it names the newest
    assert await installation.calls("register") == [("register", SECOND)]
    assert await states(installation) == {NUMBER: ("left_alone", None), SECOND: ("working", None)}
    path = f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/register"
    await installation.request("POST", path, status=202)
    await until_states(installation, {NUMBER: ("working", None), SECOND: ("working", None)})
    assert (NUMBER, "working", None) in await told_states(conn)
    path = f"{CONNECTIONS}/{WABA}/numbers/999/register"
    assert (await installation.request("POST", path, status=404))["code"] == "no_such_number"


async def test_a_cloud_number_beside_one_on_the_app_is_not_synced(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(coexisting(), another(SECOND, "15550001112"))
    code = await installation.connect(event=COEXISTENCE)
    await installation.until_active(code)
    assert {subject.split(":")[0] for _, subject in await installation.calls("sync")} == {
        COEXISTING
    }
    assert await installation.calls("register") == []
    assert await states(installation) == {
        COEXISTING: ("working", None), SECOND: ("left_alone", None),
    }  # fmt: skip


async def test_one_numbers_disconnect_leaves_the_other_working(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(coexisting(), another(SECOND, "15550001112"))
    await installation.until_active(await installation.connect())
    await until_states(installation, {COEXISTING: ("working", None), SECOND: ("working", None)})
    cut = {"disconnection_reason": "CHANGE_NUMBER", "phone_number_id": COEXISTING}
    installation.meta.time = time.time() + 1  # after the proof
    await installation.meta.happen("PARTNER_REMOVED", **cut)
    await until_states(
        installation, {COEXISTING: ("unlinked", "change_number"), SECOND: ("working", None)}
    )
    assert (await installation.request("GET", f"{CONNECTIONS}/{WABA}"))["state"] == "active"
    assert (COEXISTING, "unlinked", "change_number") in await told_states(conn)


async def test_a_read_lifts_a_cut_that_is_not_true(installation: Installation, conn: Conn) -> None:
    await installation.meta.put_waba(coexisting())
    code = await installation.connect(event=COEXISTENCE)
    await installation.until_active(code)
    world = installation.meta.world
    assert world is not None
    await conn.execute("UPDATE connection_facts SET at = at - interval '2 minutes'")
    installation.meta.time = time.time()
    await installation.meta.happen("ACCOUNT_OFFBOARDED")
    world.wabas[WABA].share(time.time())  # connected again in the same second, without a webhook

    async def is_offboarded() -> bool:
        shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
        return bool(shown["state"] == "offboarded")

    await eventually(is_offboarded)
    assert await states(installation) == {COEXISTING: ("unlinked", "offboarded")}
    # As if the read came after its 30 seconds.
    await conn.execute("UPDATE connection_facts SET at = at - interval '1 minute'")
    await installation.until_connection("active")
    assert await states(installation) == {COEXISTING: ("working", None)}


async def test_a_cut_that_comes_late_and_seems_older_is_read_at_meta(
    installation: Installation, conn: Conn
) -> None:
    """The newest fact says that the number is linked; Meta says that it is not."""
    await installation.meta.put_waba(coexisting())
    await installation.until_active(await installation.connect(event=COEXISTENCE))
    world = installation.meta.world
    assert world is not None
    await conn.execute("UPDATE connection_facts SET at = at - interval '2 minutes'")
    installation.meta.time = time.time()
    await installation.meta.happen("ACCOUNT_RECONNECTED")
    installation.meta.time = time.time() - 60
    await installation.meta.happen("ACCOUNT_OFFBOARDED")
    await installation.until_connection("disconnected")
    assert await states(installation) == {COEXISTING: ("unlinked", "account_disconnected")}


async def test_a_number_that_comes_later_is_read_and_told(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    await installation.meta.order(
        "POST", f"wabas/{WABA}/numbers",
        {"phone_number_id": THIRD, "display_phone_number": "15550001113"},
    )  # fmt: skip
    await installation.meta.order("PUT", f"numbers/{THIRD}", {"name_status": "APPROVED"})
    await until_states(installation, {NUMBER: ("working", None), THIRD: ("left_alone", None)})
    assert await told_states(conn) == [(THIRD, "left_alone", None)]


async def test_the_approval_of_a_name_wakes_what_waited_for_it(installation: Installation) -> None:
    await installation.meta.put_waba(number(name_status="PENDING_REVIEW"))
    code = await installation.connect()
    now = await installation.until(code, state="provisioning", reason="name_under_review")
    assert now["connection"]["remedy"]["who"] == "customer"
    await installation.meta.order("PUT", f"numbers/{NUMBER}", {"name_status": "APPROVED"})
    await installation.until_active(code)


async def test_two_names_approved_in_one_post_wake_both_numbers(installation: Installation) -> None:
    first = number(name_status="PENDING_REVIEW")
    await installation.meta.put_waba(
        first, another(SECOND, "15550001112", name_status="PENDING_REVIEW")
    )
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    del signup["message"]["data"]["phone_number_id"]
    await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    blocked = ("blocked", "name_under_review")
    await until_states(installation, {NUMBER: blocked, SECOND: blocked})
    bodies = []
    for number_id, phone in ((NUMBER, "15550001111"), (SECOND, "15550001112")):
        approved = {"name_status": "APPROVED", "webhook": False}
        await installation.meta.order("PUT", f"numbers/{number_id}", approved)
        value = {"display_phone_number": phone, "decision": "APPROVED"}
        change = {"field": "phone_number_name_update", "value": value}
        entry = {"id": WABA, "time": int(time.time()), "changes": [change]}
        bodies.append({"object": "whatsapp_business_account", "entry": [entry]})
    await installation.meta.order("POST", "webhooks", {"bodies": bodies, "batch": 2})
    await until_states(installation, {NUMBER: ("working", None), SECOND: ("working", None)})


async def test_any_webhook_of_the_waba_ends_the_wait_of_a_sync(installation: Installation) -> None:
    await installation.meta.put_waba(coexisting())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(COEXISTENCE, webhooks=False)
    await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    await installation.until(code, state="provisioning", reason="awaiting_webhook")
    echo = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001114", "phone_number_id": COEXISTING},
        "message_echoes": [{"from": "15550001114", "to": "15550002222", "id": "wamid.E1",
                            "timestamp": "1790000000", "type": "text", "text": {"body": "Oi"}}],
    }  # fmt: skip
    change = {"field": "smb_message_echoes", "value": echo}
    body = {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]}
    await installation.meta.order("POST", "webhooks", {"bodies": [body]})
    await installation.until_active(code)


async def test_wrong_pins_are_told_counted_and_stopped(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number(pin="654321"))
    code = await installation.connect()
    await installation.until(code, state="provisioning", reason="pin_needed")
    path = f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin"
    for left, reason in ((2, "pin_wrong"), (1, "pin_wrong"), (0, "pin_limited")):
        await installation.request("POST", path, {"pin": f"11111{left}"}, status=202)
        await installation.until(code, state="provisioning", reason=reason)

        async def is_counted(left: int = left) -> bool:
            shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
            return bool(shown["numbers"][0]["pin_tries_left"] == left)

        await eventually(is_counted)
    refused = await installation.request("POST", path, {"pin": "654321"}, status=409)
    assert refused["code"] == "pin_refused"
    assert len(await installation.calls("register")) == 4
    failed = await installation.request("GET", f"{CONNECTIONS}/{WABA}/failed-calls")
    assert [(call["step"], call["code"], call["phone_number_id"])
            for call in failed["failed_calls"]] == [("register", 133005, NUMBER)] * 4  # fmt: skip
    # Another onboarding does not start the count anew.
    code = await installation.connect()
    await installation.until(code, state="provisioning", reason="pin_limited")
    assert len(await installation.calls("register")) == 4
    await conn.execute("UPDATE phone_numbers SET wrong_pins = '{}'")
    await installation.request("POST", path, {"pin": "654321"}, status=202)
    await installation.until_active(code)
