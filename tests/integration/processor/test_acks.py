"""An ack is for one delivery. A delivery that another group has not committed is redelivered."""

from deploy.local.simulated_meta.writing import write
from shared.broker.topology import RAW
from shared.store.connections import connections
from shared.store.pool import Conn, Pool, transaction
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.processes import service
from tests.support.sending import WABA, account_update, message
from tests.support.waiting import eventually


async def test_a_waiting_group_is_not_acked_by_a_later_group(
    environment: dict[str, str], broker: Broker, conn: Conn, pool: Pool
) -> None:
    await connections.ensure(conn, [WABA])
    async with service("processor", environment) as killed:
        async with transaction(pool) as locking:
            await connections.lock(locking, [WABA])
            await broker.put(RAW, bundle(write(account_update("ACCOUNT_OFFBOARDED"))))

            async def waits_for_the_lock() -> bool:
                return bool(
                    await conn.fetchval(
                        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                        " AND application_name = 'processor' AND datname = current_database()"
                    )
                )

            await eventually(waits_for_the_lock)
            for number in range(5):
                await broker.put(RAW, bundle(write(message(number))))
                await until_states(conn, split=number + 1)
            killed.kill()
            await killed.wait()
    async with service("processor", environment):
        await until_states(conn, split=6)
    assert await conn.fetchval("SELECT state FROM whatsapp_connections") == "offboarded"
