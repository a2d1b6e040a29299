"""No token, code, PIN or key leaves a process. The test searches every output."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp

from deploy.local.demo.canary import in_redis, in_tables
from deploy.local.stack.servers import free_port
from shared.broker.topology import EVENTS
from shared.cache import open_redis
from shared.store.pool import Conn, Pool
from tests.support.broker import Broker
from tests.support.environment import APP_SECRET, BODY_KEY, SYSTEM_TOKEN, TOKEN_KEY
from tests.support.fleet import DOUBTED
from tests.support.onboarding_setup import (
    CONNECTIONS,
    ORPHANS,
    Installation,
    open_bare_installation,
)
from tests.support.processes import start
from tests.support.simulated import NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually

PIN = "918273"
TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?|\d+\.\d+")


async def test_no_secret_leaves_a_process(
    environment: dict[str, str], pool: Pool, conn: Conn, broker: Broker, redis_url: str
) -> None:
    async with (
        open_bare_installation(environment, pool) as installation,
        broker.amqp.channel() as channel,
        open_redis(redis_url) as redis,
    ):
        event_queue = await channel.declare_queue(exclusive=True)
        await event_queue.bind(EVENTS, "#")
        ports = {name: str(free_port()) for name in ("console", "processor", "token_health")}
        console_port = environment["CONSOLE_URL"].rpartition(":")[2]
        processes = [
            await start(
                f"services.{name}",
                env=environment | {"HEALTH_PORT": port, "PORT": console_port},
            )
            for name, port in ports.items()
        ]
        try:
            answers = await _run_every_flow(installation, conn)
            metrics = [
                await _text(f"http://{environment['HOST']}:{port}/metrics")
                for port in ports.values()
            ]
        finally:
            for process in processes:
                process.terminate()
        logs = [(await asyncio.wait_for(p.communicate(), 30))[0].decode() for p in processes]
        events = []
        while (event := await event_queue.get(fail=False)) is not None:
            await event.ack()
            events.append(event.body.decode())
        outputs = {
            "answers": answers, "metrics": "".join(metrics), "logs": "".join(logs),
            "events": "".join(events), "redis": await in_redis(redis),
            "database": "\n".join((await in_tables(conn)).values()),
        }  # fmt: skip
        secrets = set(_secrets(installation))
        codes = set(re.findall(r'"tracking_code": "([^"]+)', answers))
    assert len(secrets) > 10
    assert len(codes) == 2
    assert all(outputs.values())
    for name, text in outputs.items():
        searched = secrets if name in ("answers", "events") else secrets | codes
        leaked = [secret for secret in searched if _is_in(secret, text)]
        assert leaked == [], f"{leaked} in {name}"


async def _run_every_flow(installation: Installation, conn: Conn) -> str:
    """Connect, wait for a PIN, refuse, revoke, renew, claim and disconnect. Return all answers."""
    answers: list[Any] = []

    async def is_up() -> bool:
        try:
            async with installation.http.get("/api/v1/whatsapp/check-connection") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(is_up, seconds=60)
    await installation.meta.put_waba(
        number(pin=PIN), coexisting() | {"display_phone_number": "15557"}
    )
    code = await installation.connect(grants="all")

    async def is_pin_needed() -> bool:
        await installation.make_follow_ups_due()
        if not (await installation.status(code))["connection"]:
            return False
        shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
        answers.append(shown)
        return "pin_needed" in {of_waba["reason"] for of_waba in shown["numbers"]}

    await eventually(is_pin_needed, pause_seconds=0.1)
    path = f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin"
    answers.append(await installation.request("POST", path, {"pin": PIN}, status=202))
    answers.append(await installation.until_active(code))
    other_code = await installation.start_onboarding("pharmacy")
    signup = await installation.meta.sign_up()
    answers.append(await installation.post_session(other_code, signup["message"]))
    answers.append(await installation.post_code(other_code, signup["code"]))
    answers.append(await installation.until(other_code, reason="owned_by_another"))
    answers.append(await installation.post_code(other_code, "EAAnothing", status=200))
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    answers.append(
        await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=202)
    )

    async def is_fetched() -> bool:
        await installation.make_follow_ups_due()
        return len(await installation.calls("fetch_token")) > 0

    await eventually(is_fetched)

    async def is_quiet() -> bool:
        await installation.make_follow_ups_due()
        return not await conn.fetchval("SELECT count(*) FROM follow_ups WHERE state = 'pending'")

    await eventually(is_quiet)
    await _let_the_token_die(installation, conn)
    await installation.meta.put_waba(
        number("740000000000077"), waba_id="720000000000077", business_id="730000000000077"
    )
    await installation.meta.order(
        "POST", "wabas/720000000000077/events", {"event": "PARTNER_ADDED"}
    )

    answers.append(await eventually(installation.orphans))
    claim = {"organization_id": "bakery", "actor": "ana", "reason": "they called"}
    answers.append(
        await installation.request("POST", f"{ORPHANS}/720000000000077/claim", claim, status=202)
    )
    answers.append(await installation.until_connection("active", "720000000000077"))
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    answers.append(await installation.request("POST", path, {"reason": "over"}, status=202))
    answers.append(await installation.until_connection("disconnected"))
    return json.dumps(answers)


async def _let_the_token_die(installation: Installation, conn: Conn) -> None:
    """Wait until its death is found and told, and it is renewed."""
    await installation.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    await conn.execute(DOUBTED)

    async def is_told() -> bool:
        told = "SELECT count(*) = 2 FROM events WHERE type ~ 'token_(revoked|recovered)'"
        return bool(await conn.fetchval(told))

    await eventually(is_told)


def _secrets(installation: Installation) -> Iterator[str]:
    yield from (APP_SECRET, BODY_KEY, TOKEN_KEY, SYSTEM_TOKEN, installation.key)
    world = installation.meta.world
    assert world is not None
    yield from world.tokens
    yield from world.codes
    for waba in world.wabas.values():
        yield from (number.pin for number in waba.numbers if number.pin is not None)


def _is_in(secret: str, text: str) -> bool:
    """Find a six-digit PIN only as a whole number and outside of times. Find others anywhere."""
    if len(secret) == 6:
        return re.search(rf"(?<!\d){secret}(?!\d)", TIMES.sub("", text)) is not None
    return secret in text or secret.encode().hex() in text


async def _text(url: str) -> str:
    async with aiohttp.request("GET", url) as answer:
        return await answer.text()
