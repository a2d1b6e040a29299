"""The fixed loads of the guard: every round has the same work and measures its cost."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from uuid_utils.compat import uuid7

from bench.load import send_load
from bench.meter import Meter, Pace, Reading
from bench.traffic import Traffic
from shared.broker.connect import connect
from shared.broker.topology import EVENTS, RAW, WORK
from shared.messages import Webhook, encode_webhook, join_bundle
from shared.store.pool import Conn

INGRESS_WEBHOOKS = 15_000
PROCESSOR_WEBHOOKS = 12_000
#: Webhooks in each bundle for the processor.
BUNDLE = 20
#: The queue that receives the events: half of the webhooks have an owner.
LISTENER = "bench.listener"
DEADLINE_SECONDS = 120

#: The cost of one webhook, by name.
Figures = dict[str, float]


class IngressLoad:
    """Send signed webhooks over 64 connections, as fast as the ingress answers."""

    def __init__(self, port: int, env: Mapping[str, str]) -> None:
        self._port = port
        self._env = env
        self._seed = 1

    async def round(self, meter: Meter) -> Figures:
        self._seed += 1
        traffic = Traffic(self._seed, self._env["META_APP_SECRET"])
        requests = traffic.requests(INGRESS_WEBHOOKS)
        before, pace = await meter.read(), Pace()
        async with pace.sampled():
            result = await send_load(self._port, requests)
        after = await meter.read()
        if result.refused:
            raise RuntimeError(f"{result.refused} webhooks were refused")
        if by_database := await meter.count_stored():
            raise RuntimeError(f"{by_database} webhooks took the database sink: measure again")
        async with await connect(self._env["RABBITMQ_URL"], "bench") as amqp:
            channel = await amqp.channel()
            purged = await (await channel.get_queue(RAW)).purge()
        bundles = purged.message_count or 0
        return {
            "ingress: CPU us": _cpu(before, after, "ingress", pace, INGRESS_WEBHOOKS),
            "ingress: broker CPU us": _cpu(before, after, "rabbitmq", pace, INGRESS_WEBHOOKS),
            "ingress: broker messages": bundles / INGRESS_WEBHOOKS,
        }


class ProcessorLoad:
    """Give the processor the same bundles each time.

    All are in the queue before it begins, so that its groups are the same in every round. The
    tables are emptied before each round, unless they are to be `kept`.
    """

    def __init__(self, env: Mapping[str, str], conn: Conn, *, kept: bool = False) -> None:
        self._env = env
        self._conn = conn
        self._kept = kept
        self._seed = 1_000

    async def round(self, meter: Meter, *, after_checkpoint: bool = True) -> Figures:
        self._seed += 1
        if not self._kept:
            await self._conn.execute("TRUNCATE webhook_log, webhook_bodies, events CASCADE")
        since = datetime.now(UTC)
        if after_checkpoint:
            await self._conn.execute("CHECKPOINT")
        async with await connect(self._env["RABBITMQ_URL"], "bench") as amqp:
            channel = await amqp.channel()
            listener = await channel.declare_queue(
                LISTENER, durable=True, arguments={"x-queue-type": "quorum"}
            )
            await listener.bind(EVENTS, routing_key="#")
            meter.pause("processor")
            try:
                await self._publish(channel)
                before, pace = await meter.read(), Pace()
            finally:
                meter.resume("processor")
            async with pace.sampled():
                await self._until_done(since)
            after = await meter.read()
            events = (await listener.purge()).message_count or 0
        count = PROCESSOR_WEBHOOKS
        return {
            "processor: CPU us": _cpu(before, after, "processor", pace, count),
            "processor: PostgreSQL CPU us": _cpu(before, after, "postgresql", pace, count),
            "processor: broker CPU us": _cpu(before, after, "rabbitmq", pace, count),
            "processor: WAL bytes": (after.wal - before.wal) / count,
            "processor: statements": (after.statements - before.statements) / count,
            "processor: events": events / count,
        }

    async def _publish(self, channel: AbstractChannel) -> None:
        bodies = Traffic(self._seed, self._env["META_APP_SECRET"]).bodies(PROCESSOR_WEBHOOKS)
        items = [
            encode_webhook(
                Webhook(uuid7(), datetime.now(UTC), "whatsapp", "sha256=" + "0" * 64, body)
            )
            for body in bodies
        ]
        exchange = await channel.get_exchange(WORK, ensure=False)
        bundles = [items[i : i + BUNDLE] for i in range(0, len(items), BUNDLE)]
        await asyncio.gather(
            *(
                exchange.publish(
                    Message(join_bundle(bundle), delivery_mode=DeliveryMode.PERSISTENT), RAW
                )
                for bundle in bundles
            )
        )

    async def _until_done(self, since: datetime) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not await self._is_done(since):
            if time.monotonic() > deadline:
                raise TimeoutError("the processor did not finish its round in time")
            await asyncio.sleep(0.2)

    async def _is_done(self, since: datetime) -> bool:
        count = await self._conn.fetchval(
            "SELECT count(*) FROM webhook_log WHERE processed AND received_at >= $1", since
        )
        return count == PROCESSOR_WEBHOOKS and not await self._conn.fetchval(
            "SELECT EXISTS (SELECT FROM events WHERE published_at IS NULL)"
        )


def _cpu(before: Reading, after: Reading, name: str, pace: Pace, webhooks: int) -> float:
    """Return microseconds per webhook, at the speed of the reference machine."""
    return (after.cpu[name] - before.cpu[name]) / webhooks / pace.factor * 1e6
