"""Build bundles as the ingress does, and read the states of their webhooks."""

from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from shared.messages import Webhook, encode_webhook, join_bundle
from shared.store.pool import Conn
from tests.support.broker import Broker
from tests.support.waiting import eventually


def bundle(*bodies: bytes) -> bytes:
    now = datetime.now(UTC)
    return join_bundle(
        [encode_webhook(Webhook(uuid7(), now, "whatsapp", "", body)) for body in bodies]
    )


async def states(conn: Conn) -> dict[str, int]:
    rows = await conn.fetch("SELECT state::text, count(*) AS n FROM webhook_log GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


async def until_states(conn: Conn, **expected: int) -> None:
    async def are_reached() -> bool:
        return await states(conn) == expected

    await eventually(are_reached)


async def return_once(broker: Broker, queue: str) -> None:
    """Take the next message and return it to the broker, as a crashed consumer would."""
    async with broker.amqp.channel() as channel:
        delivery = await (await channel.get_queue(queue)).get(timeout=5)
        await delivery.reject(requeue=True)
