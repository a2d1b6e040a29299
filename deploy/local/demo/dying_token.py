"""The demo's fourth part: a token dies at Meta. The company is told, and the token is renewed."""

import asyncio
import time
from datetime import timedelta

import aiohttp
import asyncpg

from deploy.local.demo.company import DEADLINE_SECONDS, Company, Json
from deploy.local.demo.connecting import ConnectingOutcome
from shared.store.pool import Conn

_REFUSED = ["read_numbers", "debug_token"]
#: A check that Meta refuses, the second one, the renewal, and the check of the new token.
_CALLS = [
    *_REFUSED, *_REFUSED, "fetch_token", "debug_token", "read_waba",
    "read_numbers", "read_subscriptions",
]  # fmt: skip
_TOLD = ["token_revoked", "token_recovered"]


async def play(stack: Json) -> ConnectingOutcome:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        company = Company(http, stack)
        conn = await asyncpg.connect(stack["database"])
        try:
            return await _let_a_token_die(company, conn)
        finally:
            await conn.close()


async def _let_a_token_die(company: Company, conn: Conn) -> ConnectingOutcome:
    waba_id = await company.create_waba(
        7, {"phone_number_id": "740000000000207", "display_phone_number": "15550000207"}
    )
    await company.popup("baker", waba_id, "FINISH")
    await company.until(waba_id, "active")
    company.last_call += len(await company.calls())
    await company.order("POST", "tokens/revoke", {"waba_id": waba_id})
    await _pass_time(conn, waba_id, timedelta(days=1))
    await _until_doubted(company, waba_id)
    await _pass_time(conn, waba_id, timedelta(minutes=5))
    told = await _until_told(conn, waba_id)
    of_this_customer = {waba_id, "730000000000207"}
    calls = [call["call"] for call in await company.calls() if call["subject"] in of_this_customer]
    checked = await _check(company, waba_id)
    return ConnectingOutcome(
        "a day later a token is dead: five minutes later it is told, and renewed",
        ", ".join(told),
        ", ".join(calls),
        told == _TOLD and calls == _CALLS and checked["is_working"],
    )


async def _pass_time(conn: Conn, waba_id: str, time_passed: timedelta) -> None:
    """Let the connection's next check be due, as if it was that much later."""
    await conn.execute(
        """
        UPDATE whatsapp_connections SET next_check_at = now(),
            token_checked_at = token_checked_at - $2::interval,
            token_bad_since = token_bad_since - $2::interval
        WHERE waba_id = $1
        """,
        waba_id,
        time_passed,
    )


async def _until_doubted(company: Company, waba_id: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (await _check(company, waba_id))["doubt"]:
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.05)


async def _until_told(conn: Conn, waba_id: str) -> list[str]:
    """Wait until the company is told of two events of the token. Return their types."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        rows = await conn.fetch(
            """
            SELECT type FROM events WHERE waba_id = $1 AND type LIKE 'connection.token%'
                AND published_at IS NOT NULL ORDER BY revision
            """,
            waba_id,
        )
        if len(rows) >= len(_TOLD) or time.monotonic() > deadline:
            return [row["type"].removeprefix("connection.") for row in rows]
        await asyncio.sleep(0.05)


async def _check(company: Company, waba_id: str) -> Json:
    answer = await company.ask("GET", f"/check-connection?waba_id={waba_id}")
    [connection] = answer["connections"]
    found: Json = connection
    return found
