"""Each of Meta's errors at each step has the right outcome and the right remedy."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.store.pool import Conn
from tests.support.onboarding_setup import CHECK, CONNECTIONS, POLL_SECONDS, Installation
from tests.support.simulated import COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Fault:
    """Meta's code and subcode. With `reason` None, Porteiro retries without help."""

    code: int
    reason: str | None
    who: str = "customer"
    subcode: int | None = None
    token_state: str = "valid"


#: One error of each row of Meta's table of errors.
FAULTS = [
    Fault(1, None),
    Fault(2, None),
    Fault(131000, None),
    Fault(190, "reconnect", subcode=460, token_state="revoked"),
    Fault(190, "reconnect", subcode=463, token_state="expired"),
    Fault(190, "checkpoint", subcode=459),
    Fault(10, "permission_missing", "customer"),
    Fault(200, "permission_missing", "customer"),
    Fault(100, "bad_request", "operator"),
    Fault(100, "not_found", "operator", subcode=33),
    Fault(368, "policy_block"),
    Fault(131031, "account_locked"),
    Fault(131042, "payment_missing"),
    Fault(130497, "country_restricted"),
    Fault(131045, "not_registered"),
    Fault(133006, "not_verified"),
    Fault(33, "number_deleted", "operator"),
    Fault(803, "not_found", "operator"),
]
#: Limits of a WABA, of the app, one of Meta itself, and of registering a number.
LIMITS = [80007, 80008, 4, 613, 133016]
STEPS = ["read_numbers", "read_subscriptions", "subscribe", "register"]


def _fault_id(fault: Fault) -> str:
    return f"{fault.code}-{fault.subcode or ''}"


@pytest.mark.parametrize("call", STEPS)
@pytest.mark.parametrize("fault", FAULTS, ids=_fault_id)
async def test_an_error_at_a_step(installation: Installation, fault: Fault, call: str) -> None:
    await installation.meta.put_waba(number())
    await _refuse_token_fetches(installation)
    fault_body: dict[str, Any] = {"call": call, "code": fault.code}
    if fault.subcode:
        fault_body["subcode"] = fault.subcode
    await installation.meta.order("POST", "faults", fault_body)
    code = await installation.connect()
    if fault.reason is not None:
        # For `register`, Meta uses this code for a wrong PIN too.
        is_lock = (call, fault.code) == ("register", 131031)
        reason = "pin_or_lock" if is_lock else fault.reason
        now = await installation.until(code, state="provisioning", reason=reason)
        assert now["connection"]["remedy"]["who"] == fault.who
        shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
        assert shown["token_state"] == fault.token_state
        checked = await installation.request("GET", f"{CHECK}?waba_id={WABA}")
        assert [connection["is_working"] for connection in checked["connections"]] == [False]
        await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await installation.until_active(code)
    assert len(await installation.calls(call)) == 2


async def until_throttled(
    installation: Installation, code: str, reason: str = "throttled"
) -> dict[str, Any]:
    """Wait until the connection waits for a limit. Return it. Do not shorten the delay."""

    async def throttled() -> dict[str, Any] | None:
        connection = (await installation.status(code))["connection"]
        return connection if connection and connection["reason"] == reason else None

    return await eventually(throttled)


@pytest.mark.parametrize("call", STEPS)
@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_at_a_step(installation: Installation, limit: int, call: str) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": call, "code": limit})
    is_of_number = (limit, call) == (133016, "register")
    reason = "register_limited" if is_of_number else "throttled"
    throttled = await until_throttled(installation, await installation.connect(), reason)
    assert (throttled["state"], throttled["remedy"]["who"]) == ("provisioning", "nobody")
    assert datetime.fromisoformat(throttled["next_attempt_at"]) > datetime.now(UTC)
    assert len(await installation.calls(call)) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [(2, None), (100, "code_refused"), (10, "code_refused"), (4, "code_lost")]
)
async def test_an_error_at_the_exchange(
    installation: Installation, code: int, reason: str | None
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "exchange_code", "code": code})
    tracking_code = await installation.start_onboarding()
    now = await installation.complete_popup(tracking_code)
    if reason is not None:
        assert (now["reason"], now["remedy"]["who"]) == (reason, "customer")
        signup = await installation.meta.sign_up(webhooks=True)
        await installation.post_code(tracking_code, signup["code"])
    await installation.until_active(tracking_code)


async def test_another_redirect_uri_than_the_dialogs_is_told_to_the_operator(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    own = "https://app.example.test/back"
    code = await installation.start_onboarding(flow="redirect", redirect_uri=own)
    for redirect_uri in (f"{own}/", own):
        signup = await installation.meta.sign_up(redirect_uri=redirect_uri, webhooks=True)
        now = await installation.post_code(code, signup["code"])
        if redirect_uri != own:
            assert (now["state"], now["reason"]) == ("open", "redirect_uri_differs")
            assert now["remedy"]["who"] == "operator"
    await installation.until_active(code)


async def _refuse_token_fetches(installation: Installation) -> None:
    """Make Meta refuse fetches, so that only the customer can give a new token."""
    refuse = {"call": "fetch_token", "code": 200, "status": 403, "times": 100}
    await installation.meta.order("POST", "faults", refuse)


@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        ("debug_token", 2, None),
        ("read_waba", 2, None),
        ("read_waba", 190, "reconnect"),
        ("read_waba", 368, "policy_block"),
        ("read_waba", 100, "waba_not_granted"),
        ("read_waba", 200, "permission_missing"),
    ],
)
async def test_an_error_while_proving(
    installation: Installation, call: str, code: int, reason: str | None
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": call, "code": code})
    tracking_code = await installation.connect()
    if reason is None:
        await installation.until_active(tracking_code)
    else:
        assert (await installation.until(tracking_code, reason=reason))["connection"] is None


async def test_a_revoked_token_is_fetched_again_without_the_customer(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "subscribe", "code": 131042})
    code = await installation.connect()
    await installation.until(code, state="provisioning", reason="payment_missing")
    before = await conn.fetchval("SELECT token FROM whatsapp_connections")
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await installation.until_active(code)
    assert len(await installation.calls("fetch_token")) == 1
    assert await conn.fetchval("SELECT token FROM whatsapp_connections") != before


async def test_a_token_that_meta_calls_valid_but_refuses_ends_the_attempts(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    refuse = {"call": "subscribe", "code": 190, "subcode": 460, "times": 100}
    await installation.meta.order("POST", "faults", refuse)
    await installation.until(await installation.connect(), state="provisioning", reason="reconnect")
    assert len(await installation.calls("fetch_token")) == 1


async def test_a_limit_is_waited_out_without_further_calls(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    usage = '{"biz":[{"type":"x","call_count":100,"estimated_time_to_regain_access":5}]}'
    limited = {"call": "subscribe", "code": 80008, "headers": {"X-Business-Use-Case-Usage": usage}}
    await installation.meta.order("POST", "faults", limited)
    code = await installation.connect()

    async def seconds_until_due() -> float | None:
        seconds: float | None = await conn.fetchval(
            """
            SELECT extract(epoch FROM due_at - now())::float FROM follow_ups
            WHERE kind = 'provision' AND state = 'pending' AND reason = 'throttled'
            """
        )
        return seconds

    seconds = await eventually(seconds_until_due)
    assert 290 < seconds <= 300
    before = len(await installation.calls())

    async def is_put_off() -> bool:
        return (await seconds_until_due() or 0) > 1

    for _ in range(3):  # attempted too early: no call to Meta
        await installation.make_follow_ups_due()
        await eventually(is_put_off)
    assert len(await installation.calls()) == before
    assert await conn.fetchval("SELECT attempts FROM follow_ups WHERE kind = 'provision'") <= 1
    now = await installation.status(code)
    assert now["connection"]["reason"] == "throttled"
    assert now["connection"]["remedy"]["who"] == "nobody"
    due_at = await conn.fetchval("SELECT due_at FROM follow_ups WHERE kind = 'provision'")
    assert datetime.fromisoformat(now["connection"]["next_attempt_at"]) == due_at


async def test_neither_a_request_nor_a_login_shortens_a_numbers_limit(
    installation: Installation, conn: Conn
) -> None:
    """A call during the limit would extend it, whoever logged in."""
    await installation.meta.put_waba(number())
    await installation.meta.order(
        "POST", "faults", {"call": "register", "code": 133016, "times": 100}
    )
    code = await installation.connect()
    await until_throttled(installation, code, "register_limited")
    before = await conn.fetchval("SELECT retry_at FROM phone_numbers")
    await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await installation.request(
        "POST", f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin", {"pin": "1" * 6}, status=409
    )
    await until_throttled(installation, await installation.connect(), "register_limited")
    assert await conn.fetchval("SELECT retry_at FROM phone_numbers") == before
    assert before - datetime.now(UTC) > timedelta(hours=71)
    assert len(await installation.calls("register")) == 1


async def test_a_disconnect_that_waits_for_meta_shows_its_reason(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    await installation.meta.order("POST", "faults", {"call": "deregister", "code": 2, "times": 100})
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "contract ended"}, status=202)

    async def waiting() -> dict[str, Any] | None:
        now = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
        return now if now["reason"] == "meta_unavailable" else None

    now = await eventually(waiting)
    assert (now["state"], now["remedy"]["who"]) == ("active", "nobody")
    assert now["next_attempt_at"] is not None


async def test_a_register_call_is_attempted_four_times_and_not_for_days(
    installation: Installation,
) -> None:
    """Meta allows 10 calls in 72 hours, also those without an answer."""
    await installation.meta.put_waba(number())
    await installation.meta.order(
        "POST", "faults", {"call": "register", "code": 131000, "times": 100}
    )
    code = await installation.connect()

    async def is_given_up() -> bool:
        await installation.make_follow_ups_due()
        connection = (await installation.status(code))["connection"] or {}
        remedy = connection.get("remedy") or {}
        return (connection.get("reason"), remedy.get("who")) == ("meta_unavailable", "operator")

    await eventually(is_given_up, pause_seconds=POLL_SECONDS)
    assert len(await installation.calls("register")) == 4


async def test_calls_stop_before_a_limit_is_reached(installation: Installation, conn: Conn) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("PUT", "limits", {"waba_calls": 1})
    code = await installation.connect()

    async def is_throttled() -> bool:
        reason = await conn.fetchval("SELECT reason FROM follow_ups WHERE kind = 'provision'")
        return bool(reason == "throttled")

    await eventually(is_throttled)
    assert (await installation.status(code))["connection"]["state"] == "provisioning"
    assert [call for call, _ in await installation.calls()][-1] == "read_waba"


async def test_a_number_with_a_pin_of_its_own_needs_it(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number(pin="271828"))
    code = await installation.connect()
    now = await installation.until(code, state="provisioning", reason="pin_needed")
    assert now["connection"]["remedy"]["who"] == "customer"
    assert now["connection"]["next_attempt_at"] is None
    path = f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin"
    await installation.request("POST", path, {"pin": "271828"}, status=202)
    await installation.until_active(code)
    assert len(await installation.calls("register")) == 2
    assert b"271828" not in await conn.fetchval("SELECT pin FROM phone_numbers")


async def test_a_lost_answer_of_a_sync_counts_as_done(installation: Installation) -> None:
    await installation.meta.put_waba(coexisting())
    dropped = {"call": "sync", "drop": True, "subject": f"{COEXISTING}:history"}
    await installation.meta.order("POST", "faults", dropped)
    code = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await installation.until_active(code)
    calls = await installation.meta.calls()
    codes = [entry["code"] for entry in calls if entry["subject"].endswith(":history")]
    assert codes == [None, 2593107]


async def test_a_sync_that_is_too_late_asks_for_a_new_onboarding(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(coexisting())
    await installation.meta.order("POST", "faults", {"call": "sync", "code": 2593108})
    code = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    now = await installation.until(code, state="provisioning", reason="sync_late")
    assert "24 hours" in now["connection"]["remedy"]["text"]


async def test_a_history_that_is_too_late_costs_the_history_alone(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(coexisting())
    late = {"call": "sync", "code": 2593108, "subject": f"{COEXISTING}:history"}
    await installation.meta.order("POST", "faults", late)
    code = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await installation.until_active(code)
    assert len(await installation.calls("sync")) == 2


@pytest.mark.parametrize("body", ["not json", "[]", '{"error": "odd"}', '{"error": {"code": "x"}}'])
async def test_a_malformed_answer_from_meta_is_retried(
    installation: Installation, body: str
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order(
        "POST", "faults", {"call": "read_waba", "body": body, "status": 200}
    )
    await installation.until_active(await installation.connect())


@pytest.mark.parametrize("fault", FAULTS, ids=_fault_id)
async def test_an_error_at_a_sync(installation: Installation, fault: Fault) -> None:
    await installation.meta.put_waba(coexisting())
    await _refuse_token_fetches(installation)
    fault_body: dict[str, Any] = {"call": "sync", "code": fault.code}
    if fault.subcode:
        fault_body["subcode"] = fault.subcode
    await installation.meta.order("POST", "faults", fault_body)
    code = await installation.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    if fault.reason is not None:
        is_off_app = fault.reason == "bad_request"
        reason, who = ("not_on_app", "customer") if is_off_app else (fault.reason, fault.who)
        now = await installation.until(code, state="provisioning", reason=reason)
        assert now["connection"]["remedy"]["who"] == who
        await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await installation.until_active(code)
    codes = [entry["code"] for entry in await installation.meta.calls() if entry["call"] == "sync"]
    assert codes == [fault.code, None, None]


async def test_a_refused_app_token_is_for_the_operator(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await installation.connect()
    now = await installation.until(code, reason="app_token_refused")
    assert now["remedy"]["who"] == "operator"
    # Porteiro has the token already: the POST makes it attempt the proof again.
    await installation.post_code(code, "any-code")
    await installation.until_active(code)
