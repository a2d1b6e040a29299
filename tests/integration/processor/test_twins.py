"""Two processors at the same connections, one of them frozen in the middle of its work."""

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
#: PostgreSQL ends the frozen one's transaction after 30 s (shared/store/pool.py).
TIMEOUTS_SECONDS = 60


def shared_and_removed(waba_id: str, event: str, time: int) -> bytes:
    info = {"waba_id": waba_id, "owner_business_id": "310000000000001"}
    return write(account_update(event, time=time, waba_info=info))


async def test_a_twin_frozen_in_mid_transaction_holds_nobody_up_for_long_and_undoes_nothing(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    async with service("processor", environment, CRASH_AT="group.storing:1:STOP") as twin:
        old = [shared_and_removed(waba, "PARTNER_ADDED", OLD) for waba in WABAS]
        await broker.put(RAW, bundle(*old))
        await until_frozen(twin)
        async with service("processor", environment):
            new = [shared_and_removed(waba, "PARTNER_REMOVED", NEW) for waba in reversed(WABAS)]
            await broker.put(RAW, bundle(*new))
            await _processed(conn, 4)
            twin.send_signal(signal.SIGCONT)
            await broker.put(RAW, bundle(shared_and_removed(WABAS[0], "PARTNER_ADDED", OLD + 1)))
            await _processed(conn, 5)
            twin.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(twin.wait(), 30) == 0  # awake, and in good order
    rows = await conn.fetch("SELECT DISTINCT state, reason FROM whatsapp_connections")
    assert [tuple(row) for row in rows] == [("disconnected", "unshared")]
    tried = await conn.fetchrow(
        """
        SELECT (SELECT max(attempts) FROM webhook_changes), (SELECT max(attempts) FROM webhook_log)
        """
    )
    assert tried is not None
    assert tuple(tried) == (0, 1)  # laid down as redelivered, and split at the first try


async def _processed(conn: Conn, count: int) -> None:
    async def look() -> bool:
        return bool(
            count
            == await conn.fetchval("SELECT count(*) FROM webhook_changes WHERE state = 'processed'")
            == await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed")
        )

    await eventually(look, seconds=TIMEOUTS_SECONDS)
