"""Only a token proves a WABA, and only once. A forged message from the browser proves nothing."""

import asyncio
from typing import Any

import pytest

from shared.store.pool import Conn
from tests.support.keys import make_key
from tests.support.onboarding_setup import CONNECTIONS, ONBOARDING, Installation
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


async def test_a_code_is_exchanged_once_and_a_repeated_post_returns_the_status(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    await installation.post_session(code, signup["message"])
    answers = await asyncio.gather(
        *(installation.post_code(code, signup["code"]) for _ in range(5))
    )
    assert {answer["tracking_code"] for answer in answers} == {code}
    now = await installation.until_active(code)
    assert await installation.post_code(code, signup["code"]) == now
    assert len(await installation.calls("exchange_code")) == 1


async def test_a_code_posted_to_two_onboardings_counts_for_the_first(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    first = await installation.start_onboarding()
    second = await installation.start_onboarding("pharmacy")
    signup = await installation.meta.sign_up()
    await installation.post_code(first, signup["code"])
    refused = await installation.post_code(second, signup["code"], status=409)
    assert refused["code"] == "code_not_wanted"
    assert len(await installation.calls("exchange_code")) == 1


@pytest.mark.parametrize(
    "options", [{"code_seconds": -1}, {"app_id": "790000000000009"}], ids=["expired", "wrong app"]
)
async def test_a_code_that_meta_refuses_stores_nothing_and_a_new_one_can_follow(
    installation: Installation, conn: Conn, options: dict[str, Any]
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    seconds = options.get("code_seconds")
    signup = await installation.meta.sign_up(**({} if seconds else options))
    installation.meta.time += 31 if seconds else 0
    await installation.post_session(code, signup["message"])
    now = await installation.post_code(code, signup["code"])
    assert (now["state"], now["reason"]) == ("open", "code_refused")
    assert now["remedy"]["who"] == "customer"
    assert await nothing_is_stored(conn)
    again = await installation.meta.sign_up(webhooks=True)
    await installation.post_code(code, again["code"])
    await installation.until_active(code)


async def test_a_message_does_not_replace_the_reason_of_a_refused_code(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up()
    installation.meta.time += 31
    assert (await installation.post_code(code, signup["code"]))["reason"] == "code_refused"
    for message in (signup["message"], {"event": "CANCEL", "data": {}}):
        now = await installation.post_session(code, message)
        assert (now["reason"], now["session_event"]) == ("code_refused", "FINISH")
    again = await installation.meta.sign_up(webhooks=True)
    await installation.post_code(code, again["code"])
    await installation.until_active(code)


async def test_closing_the_dialog_after_a_code_is_no_cancellation(
    installation: Installation, conn: Conn
) -> None:
    """Closing it on the last screen counts as success (Embedded Signup, Implementation)."""
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    await installation.post_code(code, signup["code"])
    now = await installation.post_session(
        code, {"event": "CANCEL", "data": {"current_step": "PERMISSIONS"}}
    )
    assert now["reason"] != "cancelled"
    await installation.post_session(code, signup["message"])
    await installation.until_active(code)
    events = await conn.fetch("SELECT type FROM events WHERE type LIKE 'onboarding.%' ORDER BY id")
    assert [event["type"] for event in events] == ["onboarding.completed"]


async def test_a_repeated_cancellation_makes_one_event(
    installation: Installation, conn: Conn
) -> None:
    code = await installation.start_onboarding()
    closed = {"event": "CANCEL", "data": {"current_step": "PERMISSIONS"}}
    for _ in range(2):
        assert (await installation.post_session(code, closed))["reason"] == "cancelled"
    failed = {"event": "CANCEL", "data": {"error_code": "2655093"}}
    now = await installation.post_session(code, failed)
    assert (now["reason"], now["session_event"]) == ("error_reported", "ERROR")
    events = await conn.fetch("SELECT data FROM events ORDER BY id")
    assert len(events) == 2


async def test_a_blocked_proof_loses_its_reason_when_it_is_attempted_again(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    await installation.post_code(code, signup["code"])
    blocked = await installation.until(code, reason="app_token_refused")
    assert blocked["remedy"]["who"] == "operator"
    now = await installation.post_session(code, signup["message"])
    assert now["reason"] != "app_token_refused"
    await installation.until_active(code)


async def test_a_closed_link_has_no_next_attempt(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "debug_token", "code": 2, "times": 9})
    code = await installation.start_onboarding()
    await installation.complete_popup(code)

    async def is_put_off() -> bool:
        return (await installation.status(code))["next_attempt_at"] is not None

    await eventually(is_put_off)
    now = await installation.request("DELETE", f"{ONBOARDING}/{code}")
    assert (now["state"], now["reason"], now["next_attempt_at"]) == (
        "cancelled",
        "link_closed",
        None,
    )
    assert now["remedy"]["who"] == "customer"


async def test_a_popups_code_is_exchanged_without_a_redirect_uri(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding(redirect_uri="https://bakery.test/back")
    await installation.complete_popup(code)
    await installation.until_active(code)


async def test_a_forged_message_cannot_take_another_organizations_waba(
    installation: Installation, conn: Conn
) -> None:
    """The message names OTHER, but the token is granted for WABA only."""
    await installation.meta.put_waba(number())
    await installation.meta.put_waba(number(OTHER_NUMBER), waba_id=OTHER)
    code = await installation.start_onboarding("mallory")
    signup = await installation.meta.sign_up()
    forged = signup["message"] | {"data": {"waba_id": OTHER}}
    await installation.post_session(code, forged)
    await installation.post_code(code, signup["code"])
    now = await installation.until(code, reason="waba_not_granted")
    assert now["connection"] is None
    assert await nothing_is_stored(conn)
    assert (await installation.post_session(code, forged))["reason"] == "waba_not_granted"


async def test_a_token_for_all_accounts_proves_only_what_it_can_read(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.put_waba(number(OTHER_NUMBER), waba_id=OTHER, business_id="739")
    await installation.meta.order("POST", f"wabas/{OTHER}/events", {"event": "PARTNER_ADDED"})
    code = await installation.start_onboarding("mallory")
    signup = await installation.meta.sign_up(grants="all")
    await installation.post_session(code, signup["message"] | {"data": {"waba_id": OTHER}})
    await installation.post_code(code, signup["code"])
    await installation.until(code, reason="waba_not_granted")
    assert await nothing_is_stored(conn)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"grants": "none"}, "waba_not_granted"),
        ({"scopes": ["whatsapp_business_messaging"]}, "permission_missing"),
    ],
)
async def test_a_token_that_proves_too_little_is_dropped(
    installation: Installation, conn: Conn, options: dict[str, Any], reason: str
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(**options)
    await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    now = await installation.until(code, reason=reason)
    assert now["remedy"]["who"] == "customer"
    assert await nothing_is_stored(conn)


async def test_a_token_for_many_wabas_waits_for_the_session_message(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(grants="all", webhooks=True)
    await installation.post_code(code, signup["code"])
    await installation.until(code, reason="session_needed")
    await installation.post_session(code, signup["message"])
    await installation.until_active(code)


async def test_when_two_organizations_race_for_a_waba_one_wins_and_the_other_is_refused(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    codes = [
        await installation.start_onboarding("bakery"),
        await installation.start_onboarding("pharmacy"),
    ]
    signups = [await installation.meta.sign_up(webhooks=True) for _ in codes]
    for code, signup in zip(codes, signups, strict=True):
        await installation.post_session(code, signup["message"])
    await asyncio.gather(
        *(installation.post_code(code, s["code"]) for code, s in zip(codes, signups, strict=True))
    )
    outcomes = [await _outcome(installation, code) for code in codes]
    assert sorted(outcomes) == ["completed", "owned_by_another"]
    winner = ["bakery", "pharmacy"][outcomes.index("completed")]
    shown = await installation.until_connection("active")
    assert shown["organization_id"] == winner
    events = await conn.fetch("SELECT type, organization_id FROM events WHERE type ~ '^onboarding'")
    assert {(row["type"], row["organization_id"]) for row in events} == {
        ("onboarding.completed", winner),
        ("onboarding.refused", {"bakery": "pharmacy", "pharmacy": "bakery"}[winner]),
    }
    assert len(await installation.calls("register")) == 1
    assert NUMBER in {subject for _, subject in await installation.calls("register")}
    assert shown["owner_business_id"] == BUSINESS


async def _outcome(installation: Installation, code: str) -> str:
    async with asyncio.timeout(20):
        while True:
            await installation.make_follow_ups_due()
            now = await installation.status(code)
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
    installation: Installation, message: dict[str, Any], reason: str
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    now = await installation.post_session(code, message)
    assert (now["state"], now["reason"]) == ("open", reason)
    await installation.complete_popup(code)
    await installation.until_active(code)


async def test_a_cancelled_onboarding_refuses_codes_and_messages(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    cancelled = await installation.request("DELETE", f"/api/v1/whatsapp/onboarding/{code}")
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "link_closed")
    signup = await installation.meta.sign_up()
    refused = await installation.post_code(code, signup["code"], status=409)
    assert refused["code"] == "onboarding_cancelled"
    await installation.post_session(code, signup["message"], status=409)
    assert await installation.calls("exchange_code") == []
    assert await nothing_is_stored(conn)


async def test_an_expired_onboarding_refuses_codes_and_messages(
    installation: Installation, conn: Conn
) -> None:
    code = await installation.start_onboarding()
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now()")
    assert (await installation.status(code))["state"] == "expired"
    refused = await installation.post_code(code, "anything", status=409)
    assert refused["code"] == "onboarding_expired"
    await installation.post_session(code, {"event": "FINISH", "data": {}}, status=409)


async def test_a_start_is_idempotent_by_its_key_within_the_organization(
    installation: Installation,
) -> None:
    path, key = "/api/v1/whatsapp/onboarding", {"Idempotency-Key": "order-1"}
    body = {"organization_id": "bakery"}
    first = await installation.request("POST", path, body, status=201, headers=key)
    assert await installation.request("POST", path, body, headers=key) == first
    other = await installation.request(
        "POST", path, {"organization_id": "pharmacy"}, status=201, headers=key
    )
    assert other["tracking_code"] != first["tracking_code"]
    await installation.request("POST", path, body | {"flow": "redirect"}, status=409, headers=key)


async def test_a_lost_answer_to_the_exchange_needs_a_new_login_and_stores_nothing(
    installation: Installation, conn: Conn
) -> None:
    """The first answer is lost, and the code is spent."""
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up()
    await installation.meta.order("POST", "faults", {"call": "exchange_code", "drop": True})
    now = await installation.post_code(code, signup["code"])
    assert now["reason"] == "code_lost"
    # Porteiro retried once, and Meta refused the spent code.
    assert len(await installation.calls("exchange_code")) == 2
    assert await nothing_is_stored(conn)


async def test_a_failed_exchange_is_retried_within_the_lifetime_of_the_code(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    await installation.meta.order(
        "POST", "faults", {"call": "exchange_code", "code": 2, "status": 503}
    )
    await installation.post_code(code, signup["code"])
    await installation.until_active(code)
    assert len(await installation.calls("exchange_code")) == 2


async def test_another_organizations_key_sees_nothing(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.connect()
    await installation.until_active(code)
    await conn.execute("INSERT INTO organizations VALUES ('mallory')")
    key = await make_key(conn, "mallory", "theirs")
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
        await installation.request(method, path, body, key=key, status=404)
    assert (await installation.request("GET", CONNECTIONS, key=key))["connections"] == []
    for path in (f"{CONNECTIONS}?organization_id=bakery", "/api/v1/whatsapp/orphans"):
        await installation.request("GET", path, key=key, status=403)
    await installation.request(
        "POST", "/api/v1/whatsapp/onboarding", {"organization_id": "bakery"}, key=key, status=403
    )
    await installation.request("GET", CONNECTIONS, key="porteiro_guessed", status=401)
