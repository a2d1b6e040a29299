"""A webhook that kills whoever splits it costs itself, and nobody else anything."""

import pytest

from deploy.local.simulated_meta.writing import write
from shared.broker.topology import RAW
from shared.crypto import KeyRing
from shared.store.intake import webhooks
from shared.store.intake.webhooks import WebhookRow
from shared.store.pool import Conn
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.processes import process, until_dead
from tests.support.samples import make_webhook
from tests.support.sending import message

#: Bundles beside the poisoned one: more than the fast lane's prefetch.
BESIDE = 70
TRIES = 4
AGE = "UPDATE webhook_log SET lease_until = now() - interval '1 s' WHERE lease_until > now()"


@pytest.mark.parametrize("road", ["broker", "database"])
async def test_a_poisoned_webhook_dies_alone_and_the_processor_lives_on(
    road: str, environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    bodies = [write(message(n)) for n in range(99)]
    bodies.insert(40, write(message(1000, "POISON")))
    beside = 0
    if road == "broker":
        beside = BESIDE
        await broker.put(RAW, bundle(*bodies))
        for number in range(BESIDE):
            await broker.put(RAW, bundle(write(message(2000 + number))))
    else:
        arrivals = [
            WebhookRow(make_webhook(body), "fast", "database", "unsplit") for body in bodies
        ]
        await webhooks.insert(conn, ring, arrivals)
    # The broker's road costs one death before the tries are counted: the first delivery.
    for _ in range(TRIES + (road == "broker")):
        async with process("tests.support.poisoned_processor", environment) as poisoned:
            await until_dead(poisoned)
        await conn.execute(AGE)
    async with process("tests.support.poisoned_processor", environment) as alive:
        await until_states(conn, split=99 + beside, dead=1)
        assert alive.returncode is None
    [letter] = await conn.fetch("SELECT kind::text, blame::text, attempts FROM dead_letters")
    assert tuple(letter) == ("webhook", "poison", TRIES)
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 99 + beside
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 99 + beside
