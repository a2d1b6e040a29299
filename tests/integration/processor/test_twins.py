"""Two processors write the same connections. One of them is frozen during a transaction."""

import asyncio
import signal

from deploy.local.simulated_meta.writing import write
from shared.broker.topology import RAW
from shared.store.pool import Conn
from tests.support.broker import Broker
from tests.support.bundles import bundle
from tests.support.processes import service, until_frozen
from tests.support.sending import account_update
from tests.support.waiting import eventually

WABAS = ("210000000000001", "210000000000002")
OLD, NEW = 1_790_000_000, 1_790_000_600
#: PostgreSQL ends the transaction of the frozen processor after 30 s (shared/store/pool.py). What
#: waited for it rests twice as long each time, so at most about as long again.
TIMEOUT_SECONDS = 120


def partner_update(waba_id: str, event: str, time: int) -> bytes:
    info = {"waba_id": waba_id, "owner_business_id": "310000000000001"}
    return write(account_update(event, time=time, waba_info=info))


async def test_a_processor_frozen_in_a_transaction_delays_the_other_briefly_and_undoes_nothing(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    async with service("processor", environment, CRASH_AT="group.storing:1:STOP") as frozen:
        old = [partner_update(waba, "PARTNER_ADDED", OLD) for waba in WABAS]
        await broker.put(RAW, bundle(*old))
        await until_frozen(frozen)
        async with service("processor", environment):
            new = [partner_update(waba, "PARTNER_REMOVED", NEW) for waba in reversed(WABAS)]
            await broker.put(RAW, bundle(*new))
            await _until_processed(conn, 4)
            frozen.send_signal(signal.SIGCONT)
            await broker.put(RAW, bundle(partner_update(WABAS[0], "PARTNER_ADDED", OLD + 1)))
            await _until_processed(conn, 5)
            frozen.send_signal(signal.SIGTERM)
            # It runs again and stops in order.
            assert await asyncio.wait_for(frozen.wait(), 30) == 0
    rows = await conn.fetch("SELECT DISTINCT state, reason FROM whatsapp_connections")
    assert [tuple(row) for row in rows] == [("disconnected", "unshared")]
    attempts = await conn.fetchrow(
        """
        SELECT (SELECT max(attempts) FROM webhook_changes), (SELECT max(attempts) FROM webhook_log)
        """
    )
    assert attempts is not None
    # One delivery was stored unsplit as redelivered, then split at the first attempt.
    assert tuple(attempts) == (0, 1)


async def _until_processed(conn: Conn, count: int) -> None:
    async def are_processed() -> bool:
        return bool(
            count
            == await conn.fetchval("SELECT count(*) FROM webhook_changes WHERE state = 'processed'")
            == await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed")
        )

    await eventually(are_processed, seconds=TIMEOUT_SECONDS)
