"""Each kind of error, thrown by Meta at each step: the right end, and what to do about it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.store.pool import Conn
from tests.support.onboarding_setup import CHECK, CONNECTIONS, House
from tests.support.simulated import COEXISTING, NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Fault:
    """Meta's code and subcode; `reason` None: it is got over without anybody's help."""

    code: int
    reason: str | None
    who: str = "customer"
    subcode: int | None = None
    token_state: str = "valid"


#: One of each row of Meta's table of errors.
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
#: Limits of a WABA, of the app, one of Meta's own; of a number where it is registered.
LIMITS = [80007, 80008, 4, 613, 133016]
STEPS = ["read_numbers", "read_subscriptions", "subscribe", "register"]


def _named(fault: Fault) -> str:
    return f"{fault.code}-{fault.subcode or ''}"


@pytest.mark.parametrize("call", STEPS)
@pytest.mark.parametrize("fault", FAULTS, ids=_named)
async def test_an_error_at_a_step(house: House, fault: Fault, call: str) -> None:
    await house.meta.put_waba(number())
    await _no_fetching(house)
    said: dict[str, Any] = {"call": call, "code": fault.code}
    if fault.subcode:
        said["subcode"] = fault.subcode
    await house.meta.order("POST", "faults", said)
    code = await house.connect()
    if fault.reason is not None:
        is_lock = (call, fault.code) == ("register", 131031)  # or a wrong PIN: Meta does not say
        reason = "pin_or_lock" if is_lock else fault.reason
        now = await house.until(code, state="provisioning", reason=reason)
        assert now["connection"]["remedy"]["who"] == fault.who
        shown = await house.ask("GET", f"{CONNECTIONS}/{WABA}")
        assert shown["token_state"] == fault.token_state
        checked = await house.ask("GET", f"{CHECK}?waba_id={WABA}")
        assert [one["is_working"] for one in checked["connections"]] == [False]
        await house.ask("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await house.until_active(code)
    assert len(await house.calls(call)) == 2


async def until_throttled(house: House, code: str) -> dict[str, Any]:
    """The connection once it waits for a limit, whose time is not cut short."""

    async def waits() -> dict[str, Any] | None:
        conn = (await house.status(code))["connection"]
        return conn if conn and conn["reason"] == "throttled" else None

    return await eventually(waits)


@pytest.mark.parametrize("call", STEPS)
@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_at_a_step(house: House, limit: int, call: str) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": call, "code": limit})
    told = await until_throttled(house, await house.connect())
    assert (told["state"], told["remedy"]["who"]) == ("provisioning", "nobody")
    assert datetime.fromisoformat(told["next_attempt_at"]) > datetime.now(UTC)
    assert len(await house.calls(call)) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [(2, None), (100, "code_refused"), (10, "code_refused"), (4, "code_lost")]
)
async def test_an_error_at_the_exchange(house: House, code: int, reason: str | None) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "exchange_code", "code": code})
    tracking_code = await house.start()
    now = await house.go_through(tracking_code)
    if reason is not None:
        assert (now["reason"], now["remedy"]["who"]) == (reason, "customer")
        again = await house.meta.sign_up(webhooks=True)
        await house.hand_in(tracking_code, again["code"])
    await house.until_active(tracking_code)


async def _no_fetching(house: House) -> None:
    """The token cannot be had again without the customer."""
    refuse = {"call": "fetch_token", "code": 200, "status": 403, "times": 100}
    await house.meta.order("POST", "faults", refuse)


@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        ("debug_token", 2, None),
        ("read_waba", 2, None),
        ("read_waba", 190, "reconnect"),
        ("read_waba", 368, "policy_block"),
        ("read_waba", 100, "waba_not_granted"),
        ("read_waba", 200, "waba_not_granted"),
    ],
)
async def test_an_error_while_proving(
    house: House, call: str, code: int, reason: str | None
) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": call, "code": code})
    tracking_code = await house.connect()
    if reason is None:
        await house.until_active(tracking_code)
    else:
        assert (await house.until(tracking_code, reason=reason))["connection"] is None


async def test_a_dead_token_is_fetched_again_without_the_customer(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "subscribe", "code": 131042})
    code = await house.connect()
    await house.until(code, state="provisioning", reason="payment_missing")
    before = await conn.fetchval("SELECT token FROM whatsapp_connections")
    await house.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    await house.ask("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await house.until_active(code)
    assert len(await house.calls("fetch_token")) == 1
    assert await conn.fetchval("SELECT token FROM whatsapp_connections") != before


async def test_a_token_that_meta_calls_valid_and_refuses_ends_the_trying(house: House) -> None:
    await house.meta.put_waba(number())
    refuse = {"call": "subscribe", "code": 190, "subcode": 460, "times": 100}
    await house.meta.order("POST", "faults", refuse)
    await house.until(await house.connect(), state="provisioning", reason="reconnect")
    assert len(await house.calls("fetch_token")) == 1


async def test_a_limit_is_waited_out_without_a_storm(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number())
    usage = '{"biz":[{"type":"x","call_count":100,"estimated_time_to_regain_access":5}]}'
    limited = {"call": "subscribe", "code": 80008, "headers": {"X-Business-Use-Case-Usage": usage}}
    await house.meta.order("POST", "faults", limited)
    code = await house.connect()

    async def waits() -> float | None:
        seconds: float | None = await conn.fetchval(
            """
            SELECT extract(epoch FROM due_at - now())::float FROM follow_ups
            WHERE kind = 'provision' AND state = 'pending' AND reason = 'throttled'
            """
        )
        return seconds

    seconds = await eventually(waits)
    assert 290 < seconds <= 300
    before = len(await house.calls())

    async def is_put_off() -> bool:
        return (await waits() or 0) > 1

    for _ in range(3):  # tried before its time: Meta is not asked
        await house.hurry()
        await eventually(is_put_off)
    assert len(await house.calls()) == before
    assert await conn.fetchval("SELECT attempts FROM follow_ups WHERE kind = 'provision'") <= 1
    now = await house.status(code)
    assert now["connection"]["reason"] == "throttled"
    assert now["connection"]["remedy"]["who"] == "nobody"
    due_at = await conn.fetchval("SELECT due_at FROM follow_ups WHERE kind = 'provision'")
    assert datetime.fromisoformat(now["connection"]["next_attempt_at"]) == due_at


async def test_a_limit_is_not_cut_short_by_whoever_asks_again(house: House, conn: Conn) -> None:
    """A call while it lasts would prolong it."""
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "register", "code": 133016, "times": 100})
    code = await house.connect()
    await until_throttled(house, code)
    before = await conn.fetchval("SELECT due_at FROM follow_ups WHERE kind = 'provision'")
    await house.ask("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await house.ask(
        "POST", f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin", {"pin": "1" * 6}, status=202
    )
    row = await conn.fetchrow("SELECT due_at, reason FROM follow_ups WHERE kind = 'provision'")
    assert tuple(row or ()) == (before, "throttled")
    assert before - datetime.now(UTC) > timedelta(hours=71)


async def test_a_new_login_does_not_wait_for_the_limit_of_the_one_before(house: House) -> None:
    """Which may be 72 hours, while chats can be synced for 24."""
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "register", "code": 133016})
    await until_throttled(house, await house.connect())
    code = await house.connect()

    async def is_active() -> bool:
        conn = (await house.status(code))["connection"]
        return bool(conn and conn["state"] == "active")

    await eventually(is_active)


async def test_a_disconnect_that_waits_for_meta_says_so(house: House) -> None:
    await house.meta.put_waba(number())
    await house.until_active(await house.connect())
    await house.meta.order("POST", "faults", {"call": "deregister", "code": 2, "times": 100})
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "contract ended"}, status=202)

    async def waits() -> dict[str, Any] | None:
        now = await house.ask("GET", f"{CONNECTIONS}/{WABA}")
        return now if now["reason"] == "meta_unavailable" else None

    now = await eventually(waits)
    assert (now["state"], now["remedy"]["who"]) == ("active", "nobody")
    assert now["next_attempt_at"] is not None


async def test_a_register_call_is_tried_a_few_times_not_for_days(house: House) -> None:
    """Meta takes 10 in 72 hours, answered or not."""
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "register", "code": 131000, "times": 100})
    code = await house.connect()
    now = await house.until(code, state="provisioning", reason="meta_unavailable")
    while now["connection"]["remedy"]["who"] == "nobody":
        now = await house.until(code, state="provisioning", reason="meta_unavailable")
    assert now["connection"]["remedy"]["who"] == "operator"
    assert len(await house.calls("register")) == 4


async def test_a_limit_that_is_near_is_not_hit(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("PUT", "usage", {"business": 95})
    code = await house.connect()

    async def is_held() -> bool:
        found = await conn.fetchval("SELECT reason FROM follow_ups WHERE kind = 'provision'")
        return found == "throttled"  # type: ignore[no-any-return]

    await eventually(is_held)
    assert (await house.status(code))["connection"]["state"] == "provisioning"
    assert [call for call, _ in await house.calls()][-1] == "read_waba"


async def test_a_number_with_a_pin_of_its_own_needs_it(house: House, conn: Conn) -> None:
    await house.meta.put_waba(number(pin="271828"))
    code = await house.connect()
    now = await house.until(code, state="provisioning", reason="pin_needed")
    assert now["connection"]["remedy"]["who"] == "customer"
    assert now["connection"]["next_attempt_at"] is None
    path = f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin"
    await house.ask("POST", path, {"pin": "271828"}, status=202)
    await house.until_active(code)
    assert len(await house.calls("register")) == 2
    assert b"271828" not in await conn.fetchval("SELECT pin FROM phone_numbers")


async def test_a_lost_answer_of_a_sync_counts_as_done(house: House) -> None:
    await house.meta.put_waba(coexisting())
    lost = {"call": "sync", "drop": True, "subject": f"{COEXISTING}:history"}
    await house.meta.order("POST", "faults", lost)
    code = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    await house.until_active(code)
    calls = await house.meta.calls()
    ends = [entry["code"] for entry in calls if entry["subject"].endswith(":history")]
    assert ends == [None, 2593107]


async def test_a_sync_that_is_too_late_asks_for_a_new_onboarding(house: House) -> None:
    await house.meta.put_waba(coexisting())
    await house.meta.order("POST", "faults", {"call": "sync", "code": 2593108})
    code = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    now = await house.until(code, state="provisioning", reason="sync_late")
    assert "24 hours" in now["connection"]["remedy"]["text"]


@pytest.mark.parametrize("body", ["not json", "[]", '{"error": "odd"}', '{"error": {"code": "x"}}'])
async def test_whatever_meta_answers_is_tried_again(house: House, body: str) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "read_waba", "body": body, "status": 200})
    await house.until_active(await house.connect())


@pytest.mark.parametrize("fault", FAULTS, ids=_named)
async def test_an_error_at_a_sync(house: House, fault: Fault) -> None:
    await house.meta.put_waba(coexisting())
    await _no_fetching(house)
    said: dict[str, Any] = {"call": "sync", "code": fault.code}
    if fault.subcode:
        said["subcode"] = fault.subcode
    await house.meta.order("POST", "faults", said)
    code = await house.connect(event="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    if fault.reason is not None:
        is_off_app = fault.reason == "bad_request"
        reason, who = ("not_on_app", "customer") if is_off_app else (fault.reason, fault.who)
        now = await house.until(code, state="provisioning", reason=reason)
        assert now["connection"]["remedy"]["who"] == who
        await house.ask("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    await house.until_active(code)
    calls = [entry["code"] for entry in await house.meta.calls() if entry["call"] == "sync"]
    assert calls == [fault.code, None, None]


async def test_our_own_apps_token_refused_is_no_customers_fault(house: House) -> None:
    await house.meta.put_waba(number())
    await house.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await house.connect()
    now = await house.until(code, reason="app_token_refused")
    assert now["remedy"]["who"] == "operator"
    await house.hand_in(code, "any-code")  # the token is in hand: its proof is asked for again
    await house.until_active(code)
