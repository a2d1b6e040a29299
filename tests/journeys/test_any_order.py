"""The same webhooks make the same rows in any order, in any bundles and when repeated."""

import random
from datetime import UTC, datetime
from typing import Any

from deploy.local.demo.bodies import BROKEN
from deploy.local.simulated_meta.writing import batched, write
from shared.broker.topology import RAW
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, transaction
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle
from tests.support.keys import TOKEN_RING
from tests.support.ownership import prove
from tests.support.sending import WABA, account_update, message
from tests.support.waiting import eventually

ROUNDS = 4
_INFO = {"waba_id": WABA, "owner_business_id": "310000000000001"}
_GOOD: list[dict[str, Any]] = [
    *(message(n) for n in range(12)),
    account_update("PARTNER_ADDED", time=1_795_000_010, waba_info=_INFO),
    account_update("PARTNER_REMOVED", time=1_795_000_020, waba_info=_INFO),
    account_update("PARTNER_ADDED", time=1_795_000_030, waba_info=_INFO),
    account_update("ACCOUNT_OFFBOARDED", time=1_795_000_040),
    account_update("ACCOUNT_VIOLATION", violation_info={"violation_type": "ADULT"}),
    account_update("PARTNER_ADDED", waba_info={"waba_id": "none"}),
]
#: Earlier than every webhook above.
_PROVEN = datetime(2026, 1, 1, tzinfo=UTC)
_TABLES = (
    "SELECT key, field, event, waba_id, organization_id, state, attempts, last_error"
    " FROM webhook_changes ORDER BY key",
    "SELECT * FROM connection_facts ORDER BY waba_id, digits, name",
    "SELECT waba_id, organization_id, attribution, owner_business_id, state, reason"
    " FROM whatsapp_connections ORDER BY waba_id",
    "SELECT type, organization_id, waba_id, count(*) FROM events WHERE data IS NULL"
    " GROUP BY 1, 2, 3 ORDER BY 1",
    "SELECT kind, blame, error, fingerprint FROM dead_letters WHERE kind = 'change'",
    "SELECT DISTINCT digest, state FROM webhook_log WHERE state = 'dead' ORDER BY digest",
)


async def test_order_repetition_and_bundling_do_not_change_the_rows(
    environment: dict[str, str], broker: Broker, conn: Conn, pool: Pool
) -> None:
    results = []
    async with running.processor(environment):
        for seed in range(ROUNDS):
            await conn.execute(
                "TRUNCATE organizations, whatsapp_connections, connection_facts, phone_numbers,"
                " webhook_log, webhook_bodies, dead_letters CASCADE"
            )
            await _send(broker, pool, random.Random(seed))
            await eventually(lambda: _is_all_processed(conn))
            results.append([await conn.fetch(query) for query in _TABLES])
    assert len(results[0][0]) == len(_GOOD)
    for result in results[1:]:
        assert result == results[0]


async def _send(broker: Broker, pool: Pool, rng: random.Random) -> None:
    """Send every webhook once and some repeatedly, in random batches and bundles.

    Prove the owner at a random moment in between.
    """
    good = _GOOD + rng.choices(_GOOD, k=10)
    rng.shuffle(good)
    posts = [write(body) for body in batched(good, rng.randrange(1, 4))] + [*BROKEN.values()]
    rng.shuffle(posts)
    proven_after = rng.randrange(len(posts))
    for number in range(0, len(posts), 3):
        await broker.put(RAW, bundle(*posts[number : number + 3]))
        if number <= proven_after < number + 3:
            async with transaction(pool) as conn:
                await organizations.add(conn, "bakery")
                await onboardings.start(
                    conn, TOKEN_RING, NewOnboarding("bakery", "code-1", datetime.now(UTC))
                )
                assert await prove(conn, "code-1", WABA, None, _PROVEN)


async def _is_all_processed(conn: Conn) -> bool:
    return bool(
        await conn.fetchval(
            """
            SELECT (SELECT count(*) FROM webhook_changes) = $1
                AND (SELECT count(DISTINCT digest) FROM webhook_log WHERE state = 'dead') = $2
                AND NOT EXISTS (SELECT FROM webhook_changes WHERE state IN ('pending', 'failed'))
                AND NOT EXISTS (SELECT FROM webhook_changes
                                WHERE waba_id = $3 AND organization_id IS NULL)
                AND NOT EXISTS (SELECT FROM webhook_log WHERE state = 'unsplit')
            """,
            len(_GOOD),
            len({*BROKEN.values()}),
            WABA,
        )
    )
