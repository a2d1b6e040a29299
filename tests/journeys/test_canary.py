"""No token, code, PIN or key in anything that leaves a process: searched for everywhere."""

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
from tests.support.onboarding_setup import CONNECTIONS, ORPHANS, House, house_of_processes
from tests.support.processes import start
from tests.support.simulated import NUMBER, WABA, coexisting, number
from tests.support.waiting import eventually

PIN = "918273"
TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?|\d+\.\d+")


async def test_no_secret_leaves_the_house(
    environment: dict[str, str], pool: Pool, conn: Conn, broker: Broker, redis_url: str
) -> None:
    async with (
        house_of_processes(environment, pool) as house,
        broker.connection.channel() as channel,
        open_redis(redis_url) as redis,
    ):
        told = await channel.declare_queue(exclusive=True)
        await told.bind(EVENTS, "#")
        ports = {name: str(free_port()) for name in ("console", "processor")}
        console_port = environment["CONSOLE_URL"].rpartition(":")[2]
        processes = [
            await start(
                f"services.{name}",
                env=environment | {"HEALTH_PORT": port, "PORT": console_port},
            )
            for name, port in ports.items()
        ]
        answers = await _live(house)
        metrics = [await _text(f"http://{environment['HOST']}:{p}/metrics") for p in ports.values()]
        for process in processes:
            process.terminate()
        logs = [(await asyncio.wait_for(p.communicate(), 30))[0].decode() for p in processes]
        events = []
        while (event := await told.get(fail=False)) is not None:
            await event.ack()
            events.append(event.body.decode())
        outputs = {
            "answers": answers, "metrics": "".join(metrics), "logs": "".join(logs),
            "events": "".join(events), "redis": await in_redis(redis),
            "database": "\n".join((await in_tables(conn)).values()),
        }  # fmt: skip
        secrets = set(_secrets(house))
    assert len(secrets) > 10
    assert all(outputs.values())
    for name, text in outputs.items():
        found = [secret for secret in secrets if _is_in(secret, text)]
        assert found == [], f"{found} in {name}"


async def _live(house: House) -> str:
    """All that may happen: connected, refused, stuck on a PIN, claimed, dead, disconnected."""
    seen: list[Any] = []

    async def is_up() -> bool:
        try:
            async with house.http.get("/api/v1/whatsapp/check-connection") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(is_up)
    await house.meta.put_waba(number(pin=PIN), coexisting() | {"display_phone_number": "15557"})
    code = await house.connect(grants="all")
    seen.append(await house.until(code, state="provisioning", reason="pin_needed"))
    path = f"{CONNECTIONS}/{WABA}/numbers/{NUMBER}/pin"
    seen.append(await house.ask("POST", path, {"pin": PIN}, status=202))
    seen.append(await house.until_active(code))
    other = await house.start("pharmacy")
    signed = await house.meta.sign_up()
    seen.append(await house.say(other, signed["message"]))
    seen.append(await house.hand_in(other, signed["code"]))
    seen.append(await house.until(other, reason="owned_by_another"))
    seen.append(await house.hand_in(other, "EAAnothing", status=200))
    await house.meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    seen.append(await house.ask("POST", f"{CONNECTIONS}/{WABA}/provision", status=202))

    async def is_fetched() -> bool:
        await house.hurry()
        return len(await house.calls("fetch_token")) > 0

    await eventually(is_fetched)
    await house.meta.put_waba(number("740000000000077"), waba_id="720000000000077")
    await house.meta.order("POST", "wabas/720000000000077/events", {"event": "PARTNER_ADDED"})

    async def orphans() -> list[Any]:
        return (await house.ask("GET", ORPHANS))["orphans"]  # type: ignore[no-any-return]

    seen.append(await eventually(orphans))
    claim = {"organization_id": "bakery", "actor": "ana", "reason": "they called"}
    seen.append(await house.ask("POST", f"{ORPHANS}/720000000000077/claim", claim, status=202))
    seen.append(await house.until_connection("active", "720000000000077"))
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    seen.append(await house.ask("POST", path, {"reason": "over"}, status=202))
    seen.append(await house.until_connection("disconnected"))
    return json.dumps(seen)


def _secrets(house: House) -> Iterator[str]:
    yield from (APP_SECRET, BODY_KEY, TOKEN_KEY, SYSTEM_TOKEN, house.key)
    world = house.meta.world
    assert world is not None
    yield from world.tokens
    yield from world.codes
    for waba in world.wabas.values():
        yield from (one.pin for one in waba.numbers if one.pin is not None)


def _is_in(secret: str, text: str) -> bool:
    """A PIN's six digits alone; times are full of digits."""
    if len(secret) == 6:
        return re.search(rf"(?<!\d){secret}(?!\d)", TIMES.sub("", text)) is not None
    return secret in text or secret.encode().hex() in text


async def _text(url: str) -> str:
    async with aiohttp.request("GET", url) as answer:
        return await answer.text()
