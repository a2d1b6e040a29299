"""A webhook that kills its processor becomes dead and affects no other webhook."""

import pytest

from deploy.local.simulated_meta.writing import write
from shared.broker.topology import RAW
from shared.crypto import KeyRing
from shared.store.intake import webhooks
from shared.store.intake.webhooks import WebhookRow
from shared.store.pool import Conn
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.processes import process, until_killed
from tests.support.samples import make_webhook
from tests.support.sending import message

#: Bundles beside the poisoned one: more than the fast lane's prefetch.
OTHER_BUNDLES = 70
MAX_ATTEMPTS = 4
END_LEASES = "UPDATE webhook_log SET lease_until = now() - interval '1 s' WHERE lease_until > now()"


@pytest.mark.parametrize("stored_via", ["broker", "database"])
async def test_only_the_poisoned_webhook_becomes_dead_and_the_processor_goes_on(
    stored_via: str, environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    bodies = [write(message(n)) for n in range(99)]
    bodies.insert(40, write(message(1000, "POISON")))
    others = 0
    if stored_via == "broker":
        others = OTHER_BUNDLES
        await broker.put(RAW, bundle(*bodies))
        for number in range(OTHER_BUNDLES):
            await broker.put(RAW, bundle(write(message(2000 + number))))
    else:
        rows = [WebhookRow(make_webhook(body), "fast", "database", "unsplit") for body in bodies]
        await webhooks.insert(conn, ring, rows)
    # From the broker, the first delivery kills one more process: no attempt is counted yet.
    for _ in range(MAX_ATTEMPTS + (stored_via == "broker")):
        async with process("tests.support.poisoned_processor", environment) as killed:
            await until_killed(killed)
        await conn.execute(END_LEASES)
    async with process("tests.support.poisoned_processor", environment) as alive:
        await until_states(conn, split=99 + others, dead=1)
        assert alive.returncode is None
    [letter] = await conn.fetch("SELECT kind::text, blame::text, attempts FROM dead_letters")
    assert tuple(letter) == ("webhook", "poison", MAX_ATTEMPTS)
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 99 + others
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 99 + others
