"""What the browser, and whoever forges it, can and cannot do: a token decides, once."""

import asyncio
from typing import Any

import pytest

from shared.store import api_keys
from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, ONBOARDING, House
from tests.support.simulated import BUSINESS, NUMBER, WABA, number
from tests.support.waiting import eventually

OTHER, OTHER_NUMBER = "720000000000099", "740000000000099"
STORED = """
    SELECT (SELECT count(*) FROM whatsapp_connections WHERE organization_id IS NOT NULL),
           (SELECT count(*) FROM whatsapp_connections WHERE token IS NOT NULL),
           (SELECT count(*) FROM whatsapp_onboarding WHERE token IS NOT NULL)
"""


async def nothing_is_stored(conn: Conn) -> bool:
    row = await conn.fetchrow(STORED)
    return row is not None and tuple(row) == (0, 0, 0)


async def test_a_code_is_exchanged_once_and_a_repeated_post_reads_the_status(house: House) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up(webhooks=True)
    await house.say(code, signed["message"])
    answers = await asyncio.gather(*(house.hand_in(code, signed["code"]) for _ in range(5)))
    assert {one["tracking_code"] for one in answers} == {code}
    now = await house.until_active(code)
    assert await house.hand_in(code, signed["code"]) == now | {"connection": now["connection"]}
    assert len(await house.calls("exchange_code")) == 1


async def test_a_code_given_to_two_onboardings_counts_for_the_first(
    house: House, conn: Conn
) -> None:
    await house.meta.put_waba(number())
    first, second = await house.start(), await house.start("pharmacy")
    signed = await house.meta.sign_up()
    await house.hand_in(first, signed["code"])
    refused = await house.hand_in(second, signed["code"], status=409)
    assert refused["code"] == "code_not_wanted"
    assert len(await house.calls("exchange_code")) == 1


@pytest.mark.parametrize(
    "signup", [{"code_seconds": -1}, {"app_id": "790000000000009"}], ids=["expired", "wrong app"]
)
async def test_a_code_that_meta_refuses_stores_nothing_and_can_be_tried_again(
    house: House, conn: Conn, signup: dict[str, Any]
) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    seconds = signup.get("code_seconds")
    signed = await house.meta.sign_up(**({} if seconds else signup))
    house.meta.time += 31 if seconds else 0
    await house.say(code, signed["message"])
    now = await house.hand_in(code, signed["code"])
    assert (now["state"], now["reason"]) == ("open", "code_refused")
    assert now["remedy"]["who"] == "customer"
    assert await nothing_is_stored(conn)
    again = await house.meta.sign_up(webhooks=True)
    await house.hand_in(code, again["code"])
    await house.until_active(code)


async def test_a_message_takes_no_reason_away_that_a_code_or_a_proof_gave(house: House) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up()
    house.meta.time += 31
    assert (await house.hand_in(code, signed["code"]))["reason"] == "code_refused"
    for message in (signed["message"], {"event": "CANCEL", "data": {}}):
        now = await house.say(code, message)
        assert (now["reason"], now["session_event"]) == ("code_refused", "FINISH")
    again = await house.meta.sign_up(webhooks=True)
    await house.hand_in(code, again["code"])
    await house.until_active(code)


async def test_who_closes_the_dialog_behind_a_code_has_not_cancelled(
    house: House, conn: Conn
) -> None:
    """Closing it on the last screen counts as success (Embedded Signup, Implementation)."""
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up(webhooks=True)
    await house.hand_in(code, signed["code"])
    now = await house.say(code, {"event": "CANCEL", "data": {"current_step": "PERMISSIONS"}})
    assert now["reason"] != "cancelled"
    await house.say(code, signed["message"])
    await house.until_active(code)
    told = await conn.fetch("SELECT type FROM events WHERE type LIKE 'onboarding.%' ORDER BY id")
    assert [record[0] for record in told] == ["onboarding.completed"]


async def test_a_closed_dialog_is_told_once(house: House, conn: Conn) -> None:
    code = await house.start()
    closed = {"event": "CANCEL", "data": {"current_step": "PERMISSIONS"}}
    for _ in range(2):
        assert (await house.say(code, closed))["reason"] == "cancelled"
    failed = {"event": "CANCEL", "data": {"error_code": "2655093"}}
    now = await house.say(code, failed)
    assert (now["reason"], now["session_event"]) == ("error_reported", "ERROR")
    told = await conn.fetch("SELECT data FROM events ORDER BY id")
    assert len(told) == 2


async def test_a_proof_that_was_stuck_is_not_shown_so_once_it_is_asked_again(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await house.start()
    signed = await house.meta.sign_up(webhooks=True)
    await house.hand_in(code, signed["code"])
    stuck = await house.until(code, reason="app_token_refused")
    assert stuck["remedy"]["who"] == "operator"
    told = await house.say(code, signed["message"])
    assert told["reason"] != "app_token_refused"
    await house.until_active(code)


async def test_a_closed_link_waits_for_nothing(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "debug_token", "code": 2, "times": 9})
    code = await house.start()
    await house.go_through(code)

    async def is_put_off() -> bool:
        return (await house.status(code))["next_attempt_at"] is not None

    await eventually(is_put_off)
    now = await house.ask("DELETE", f"{ONBOARDING}/{code}")
    assert (now["state"], now["reason"], now["next_attempt_at"]) == (
        "cancelled",
        "link_closed",
        None,
    )
    assert now["remedy"]["who"] == "customer"


async def test_a_popups_code_is_exchanged_without_a_redirect_uri(house: House) -> None:
    await house.meta.put_waba(number())
    code = await house.start(redirect_uri="https://bakery.test/back")
    await house.go_through(code)
    await house.until_active(code)


async def test_a_forged_message_cannot_take_another_organizations_waba(
    house: House, conn: Conn
) -> None:
    """The browser says OTHER, but the token was granted for WABA alone."""
    await house.meta.put_waba(number())
    await house.meta.put_waba(number(OTHER_NUMBER), waba_id=OTHER)
    code = await house.start("mallory")
    signed = await house.meta.sign_up()
    forged = signed["message"] | {"data": {"waba_id": OTHER}}
    await house.say(code, forged)
    await house.hand_in(code, signed["code"])
    now = await house.until(code, reason="waba_not_granted")
    assert now["connection"] is None
    assert await nothing_is_stored(conn)
    assert (await house.say(code, forged))["reason"] == "waba_not_granted"


async def test_a_token_for_all_accounts_reaches_only_what_it_can_read(
    house: House, conn: Conn
) -> None:
    await house.meta.put_waba(number())
    await house.meta.put_waba(number(OTHER_NUMBER), waba_id=OTHER, business_id="739")
    await house.meta.order("POST", f"wabas/{OTHER}/events", {"event": "PARTNER_ADDED"})
    code = await house.start("mallory")
    signed = await house.meta.sign_up(grants="all")
    await house.say(code, signed["message"] | {"data": {"waba_id": OTHER}})
    await house.hand_in(code, signed["code"])
    await house.until(code, reason="waba_not_granted")
    assert await nothing_is_stored(conn)


@pytest.mark.parametrize(
    ("signup", "reason"),
    [
        ({"grants": "none"}, "waba_not_granted"),
        ({"scopes": ["whatsapp_business_messaging"]}, "permission_missing"),
    ],
)
async def test_a_token_that_proves_too_little_is_dropped(
    house: House, conn: Conn, signup: dict[str, Any], reason: str
) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up(**signup)
    await house.say(code, signed["message"])
    await house.hand_in(code, signed["code"])
    now = await house.until(code, reason=reason)
    assert now["remedy"]["who"] == "customer"
    assert await nothing_is_stored(conn)


async def test_without_a_message_a_token_for_many_waits_for_it(house: House) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up(grants="all", webhooks=True)
    await house.hand_in(code, signed["code"])
    await house.until(code, reason="session_needed")
    await house.say(code, signed["message"])
    await house.until_active(code)


async def test_of_two_organizations_that_race_for_a_waba_one_wins_and_the_other_is_told(
    house: House, conn: Conn
) -> None:
    await house.meta.put_waba(number())
    codes = [await house.start("bakery"), await house.start("pharmacy")]
    signed = [await house.meta.sign_up(webhooks=True) for _ in codes]
    for code, one in zip(codes, signed, strict=True):
        await house.say(code, one["message"])
    await asyncio.gather(
        *(house.hand_in(code, one["code"]) for code, one in zip(codes, signed, strict=True))
    )
    ends = [await _end(house, code) for code in codes]
    assert sorted(ends) == ["completed", "owned_by_another"]
    winner = ["bakery", "pharmacy"][ends.index("completed")]
    shown = await house.until_connection("active")
    assert shown["organization_id"] == winner
    told = await conn.fetch("SELECT type, organization_id FROM events WHERE type ~ '^onboarding'")
    assert {(row["type"], row["organization_id"]) for row in told} == {
        ("onboarding.completed", winner),
        ("onboarding.refused", {"bakery": "pharmacy", "pharmacy": "bakery"}[winner]),
    }
    assert len(await house.calls("register")) == 1
    assert NUMBER in {subject for _, subject in await house.calls("register")}
    assert shown["owner_business_id"] == BUSINESS


async def _end(house: House, code: str) -> str:
    async with asyncio.timeout(20):
        while True:
            await house.hurry()
            now = await house.status(code)
            if now["state"] == "completed":
                return "completed"
            if now["reason"] == "owned_by_another":
                return "owned_by_another"
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"event": "CANCEL", "data": {"current_step": "PHONE_NUMBER_SETUP"}}, "cancelled"),
        ({"event": "CANCEL", "data": {"error_code": "524126"}}, "error_reported"),
        ({"event": "ERROR", "data": {"error_message": "x"}}, "error_reported"),
    ],
)
async def test_a_dialog_that_was_closed_can_be_opened_again(
    house: House, message: dict[str, Any], reason: str
) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    now = await house.say(code, message)
    assert (now["state"], now["reason"]) == ("open", reason)
    await house.go_through(code)
    await house.until_active(code)


async def test_a_cancelled_onboarding_takes_nothing_more(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    cancelled = await house.ask("DELETE", f"/api/v1/whatsapp/onboarding/{code}")
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "link_closed")
    signed = await house.meta.sign_up()
    assert (await house.hand_in(code, signed["code"], status=409))["code"] == "onboarding_cancelled"
    await house.say(code, signed["message"], status=409)
    assert await house.calls("exchange_code") == []
    assert await nothing_is_stored(conn)


async def test_an_expired_onboarding_takes_nothing_more(house: House, conn: Conn) -> None:
    code = await house.start()
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now()")
    assert (await house.status(code))["state"] == "expired"
    assert (await house.hand_in(code, "anything", status=409))["code"] == "onboarding_expired"
    await house.say(code, {"event": "FINISH", "data": {}}, status=409)


async def test_a_start_is_idempotent_by_its_key_within_the_organization(house: House) -> None:
    path, key = "/api/v1/whatsapp/onboarding", {"Idempotency-Key": "order-1"}
    body = {"organization_id": "bakery"}
    first = await house.ask("POST", path, body, status=201, headers=key)
    assert await house.ask("POST", path, body, headers=key) == first
    other = await house.ask("POST", path, {"organization_id": "pharmacy"}, status=201, headers=key)
    assert other["tracking_code"] != first["tracking_code"]
    await house.ask("POST", path, body | {"flow": "redirect"}, status=409, headers=key)


async def test_a_meta_that_does_not_answer_in_time_costs_a_new_login_and_nothing_else(
    house: House, conn: Conn
) -> None:
    """The first answer is lost on its way: the code may be spent, and is."""
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up()
    await house.meta.order("POST", "faults", {"call": "exchange_code", "drop": True})
    now = await house.hand_in(code, signed["code"])
    assert now["reason"] == "code_lost"
    assert len(await house.calls("exchange_code")) == 2  # the second try is ours, and is refused
    assert await nothing_is_stored(conn)


async def test_a_meta_that_stumbles_is_asked_again_within_the_codes_life(house: House) -> None:
    await house.meta.put_waba(number())
    code = await house.start()
    signed = await house.meta.sign_up(webhooks=True)
    await house.meta.order("POST", "faults", {"call": "exchange_code", "code": 2, "status": 503})
    await house.hand_in(code, signed["code"])
    await house.until_active(code)
    assert len(await house.calls("exchange_code")) == 2


async def test_another_organizations_key_sees_nothing(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number())
    code = await house.connect()
    await house.until_active(code)
    await conn.execute("INSERT INTO organizations VALUES ('mallory')")
    key = await api_keys.create(conn, "theirs", "mallory")
    onboarding = f"/api/v1/whatsapp/onboarding/{code}"
    for method, path, body in (
        ("GET", onboarding, None),
        ("DELETE", onboarding, None),
        ("POST", f"{onboarding}/code", {"code": "x"}),
        ("POST", f"{onboarding}/session", {"event": "CANCEL"}),
        ("GET", f"{CONNECTIONS}/{WABA}", None),
        ("POST", f"{CONNECTIONS}/{WABA}/provision", None),
        ("POST", f"{CONNECTIONS}/{WABA}/disconnect", {"reason": "mine now"}),
        ("POST", f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin", {"pin": "123456"}),
        ("GET", f"/api/v1/whatsapp/check-connection?waba_id={WABA}", None),
    ):
        await house.ask(method, path, body, key=key, status=404)
    assert (await house.ask("GET", CONNECTIONS, key=key))["connections"] == []
    for path in (f"{CONNECTIONS}?organization_id=bakery", "/api/v1/whatsapp/orphans"):
        await house.ask("GET", path, key=key, status=403)
    await house.ask(
        "POST", "/api/v1/whatsapp/onboarding", {"organization_id": "bakery"}, key=key, status=403
    )
    await house.ask("GET", CONNECTIONS, key="porteiro_guessed", status=401)
