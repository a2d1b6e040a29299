"""Every connection is known alive, dying or unknown, and its company is told."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from shared.messages import encode_check_nudge
from shared.store.connections import tokens
from shared.store.pool import Conn
from tests.support.broker import Broker
from tests.support.fleet import DOUBTED
from tests.support.keys import TOKEN_RING
from tests.support.onboarding_setup import CHECK, Installation, Json
from tests.support.running import token_health
from tests.support.simulated import NUMBER, WABA, number
from tests.support.tokens import save_token
from tests.support.waiting import eventually

DAYS = 86_400


@pytest.fixture
async def health_url(installation: Installation) -> AsyncIterator[str]:
    async with token_health(installation.environment) as url:
        yield url


async def set_up(installation: Installation, **more: Any) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect(**more))


async def check_again(conn: Conn) -> datetime:
    """Let the connection be checked as if a day had passed. Return the last check's time."""
    at: datetime = await conn.fetchval(
        """
        UPDATE whatsapp_connections SET next_check_at = now(),
            token_checked_at = token_checked_at - interval '1 day',
            token_debugged_at = token_debugged_at - interval '1 day',
            token_bad_since = token_bad_since - interval '1 day'
        RETURNING token_checked_at
        """
    )
    return at


async def checked(conn: Conn) -> None:
    """Let it be checked, and wait until it was."""
    before = await check_again(conn)

    async def is_checked() -> bool:
        sql = "SELECT token_checked_at > $1 AND next_check_at > now() FROM whatsapp_connections"
        return bool(await conn.fetchval(sql, before))

    await eventually(is_checked)


async def events_told(conn: Conn) -> list[tuple[str, Json]]:
    """Return the types and data of the events of tokens and numbers, in order."""
    rows = await conn.fetch(
        "SELECT type, data FROM events WHERE type ~ 'connection.(token|number)_' ORDER BY revision"
    )
    return [(row["type"].removeprefix("connection."), json.loads(row["data"])) for row in rows]


async def stored_token(conn: Conn) -> str:
    stored = await tokens.read(conn, TOKEN_RING, WABA)
    assert stored is not None
    return stored.text


async def types_told(conn: Conn) -> list[str]:
    return [event_type for event_type, _ in await events_told(conn)]


async def checks_counted(health_url: str) -> dict[str, float]:
    return await counted_by_outcome(health_url, "porteiro_token_checks_total")


async def renewals_counted(health_url: str) -> dict[str, float]:
    return await counted_by_outcome(health_url, "porteiro_token_renewals_total")


async def counted_by_outcome(health_url: str, metric: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"{health_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    start = f'{metric}{{outcome="'
    counted = [line.removeprefix(start).split('"} ') for line in lines if line.startswith(start)]
    return {outcome: float(value) for outcome, value in counted}


async def test_a_revoked_token_is_told_once_and_renewed(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    await set_up(installation)
    await checked(conn)
    assert await types_told(conn) == []
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    fault = {"call": "fetch_token", "code": 2, "status": 503, "times": 2}
    await installation.meta.order("POST", "faults", fault)

    await checked(conn)
    shown = await installation.request("GET", f"{CHECK}?waba_id={WABA}")
    [connection] = shown["connections"]
    assert (connection["token_state"], connection["doubt"]) == ("valid", "token_revoked")
    assert await types_told(conn) == []

    await checked(conn)
    [(event, data)] = await events_told(conn)
    assert (event, data["token"]["reason"], data["state"]) == (
        "token_revoked", "token_revoked", "active",
    )  # fmt: skip
    assert "Connect it again" in data["token"]["remedy"]

    await checked(conn)  # Meta still gives no new token
    assert await types_told(conn) == ["token_revoked"]
    await check_again(conn)

    async def is_told_to_be_well() -> bool:
        return await types_told(conn) == ["token_revoked", "token_recovered"]

    await eventually(is_told_to_be_well)
    [connection] = (await installation.request("GET", f"{CHECK}?waba_id={WABA}"))["connections"]
    assert (connection["is_working"], connection["token_state"]) == (True, "valid")
    assert connection["next_check_at"] > connection["last_check_at"]
    counted = await checks_counted(health_url)
    assert {"valid", "doubted", "revoked"} <= counted.keys()


async def test_a_removed_subscription_is_found_and_made_again(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    await set_up(installation)
    await installation.meta.order("PUT", f"wabas/{WABA}/subscription", {"is_subscribed": False})
    await checked(conn)
    assert installation.meta.is_subscribed() is False
    await checked(conn)

    async def is_subscribed_again() -> bool:
        await installation.make_follow_ups_due()
        return installation.meta.is_subscribed()

    await eventually(is_subscribed_again)
    reasons = await conn.fetch("SELECT data->>'reason' AS reason FROM events")
    assert "subscription_lost" in {row["reason"] for row in reasons}
    assert await types_told(conn) == []


async def test_a_number_that_was_banned_without_a_webhook_is_known_the_next_day(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    await set_up(installation)
    await checked(conn)
    order = {"status": "BANNED", "quality": "RED"}
    await installation.meta.order("PUT", f"numbers/{NUMBER}", order)
    await checked(conn)
    told = {event: data["number"] for event, data in await events_told(conn)}
    assert told["number_status"]["now"] == "banned"
    assert told["number_status"]["before"] == "connected"
    assert told["number_quality"] == {
        "phone_number_id": NUMBER, "digits": "15550001111", "before": "green", "now": "red",
    }  # fmt: skip
    assert told["number_state"]["now"] == "blocked"
    assert told["number_state"]["reason"] == "number_banned"
    await checked(conn)
    assert len(await types_told(conn)) == 3


async def test_an_expiry_is_told_and_a_longer_token_taken(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    await set_up(installation, expires_in_seconds=60 * DAYS)
    await checked(conn)
    expires_at = datetime.now(UTC) + timedelta(days=2)
    await conn.execute("UPDATE whatsapp_connections SET token_debugged_at = now()")
    # Meta tells the new end when it is asked near the known one.
    assert installation.meta.world is not None
    for token in installation.meta.world.tokens.values():
        if token.grant.waba_id == WABA:
            token.issued_at -= 58 * DAYS
    await conn.execute("UPDATE whatsapp_connections SET token_expires_at = $1", expires_at)
    await checked(conn)
    [(event, data)] = await events_told(conn)
    assert (event, data["token"]["state"]) == ("token_expiring", "expiring")
    assert data["token"]["ends_at"] is not None
    await checked(conn)
    assert await types_told(conn) == ["token_expiring"]

    longer = await installation.meta.token()  # one that never ends
    await check_again(conn)

    async def is_renewed() -> bool:
        return await stored_token(conn) == longer

    await eventually(is_renewed)
    row = await conn.fetchrow(
        "SELECT token_state::text, token_expires_at FROM whatsapp_connections"
    )
    assert row is not None
    assert tuple(row) == ("valid", None)


async def test_the_end_of_data_access_is_known_from_the_proof_on(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    """`debug_token` is not asked again for a week: the end may come before."""
    await set_up(installation, data_access_seconds=3 * DAYS)
    await checked(conn)
    [(event, data)] = await events_told(conn)
    assert (event, data["token"]["state"]) == ("token_expiring", "expiring")


async def test_a_nudge_has_a_connection_checked_now(
    installation: Installation, conn: Conn, health_url: str, broker: Broker
) -> None:
    await set_up(installation)
    before = await check_again(conn)
    await conn.execute("UPDATE whatsapp_connections SET next_check_at = now() + interval '9 hours'")
    await broker.put("tokens.checks", b"no nudge at all")
    await broker.put("tokens.checks", encode_check_nudge(WABA))

    async def is_checked() -> bool:
        sql = "SELECT token_checked_at > $1 FROM whatsapp_connections"
        return bool(await conn.fetchval(sql, before))

    await eventually(is_checked)


async def test_what_meta_does_not_answer_changes_nothing(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    await set_up(installation)
    fault = {"call": "read_numbers", "code": 2, "status": 503}
    await installation.meta.order("POST", "faults", fault)
    before = await check_again(conn)

    async def is_unasked() -> bool:
        return (await checks_counted(health_url)).get("unasked") == 1

    await eventually(is_unasked)
    row = await conn.fetchrow("SELECT * FROM whatsapp_connections")
    assert row is not None
    assert (row["token_state"], row["token_doubt"], row["token_checked_at"]) == (
        "valid", None, before,
    )  # fmt: skip
    assert await types_told(conn) == []


async def test_a_newer_token_wins(installation: Installation, conn: Conn, health_url: str) -> None:
    """The customer connects again while Meta is asked about the old token."""
    await set_up(installation)
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    await installation.meta.order(
        "POST", "faults", {"call": "read_numbers", "seconds": 1.0, "subject": WABA}
    )
    await check_again(conn)

    async def is_asked() -> bool:
        return any(
            call["call"] == "read_numbers" and call["status"] is None
            for call in await installation.meta.calls()
        )

    await eventually(is_asked)
    newer = await installation.meta.token()
    await save_token(conn, TOKEN_RING, WABA, newer)

    async def is_replaced() -> bool:
        return (await checks_counted(health_url)).get("replaced") == 1

    await eventually(is_replaced)
    row = await conn.fetchrow("SELECT * FROM whatsapp_connections")
    assert row is not None
    assert (row["token_state"], row["token_doubt"]) == ("valid", None)


async def test_a_newer_token_wins_over_a_renewed_one(
    installation: Installation, conn: Conn, health_url: str
) -> None:
    """The customer connects again while a token is fetched in place of the dead one."""
    await set_up(installation)
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    await installation.meta.order("POST", "faults", {"call": "fetch_token", "seconds": 1.0})
    await conn.execute(DOUBTED)

    async def is_fetched() -> bool:
        return len(await installation.calls("fetch_token")) > 0

    await eventually(is_fetched)
    newer = await installation.meta.token()
    await save_token(conn, TOKEN_RING, WABA, newer)

    async def is_refused() -> bool:
        return await renewals_counted(health_url) == {"not": 1}

    await eventually(is_refused)
    assert await stored_token(conn) == newer
