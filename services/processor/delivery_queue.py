"""From RabbitMQ's deliveries to groups of webhooks, each acknowledged once it is committed."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from services.processor.metrics import ProcessorMetrics
from shared.broker.connect import ignoring_broker_loss
from shared.broker.topology import RAW, RAW_SLOW
from shared.messages import BrokenEnvelope, UnknownVersion, Webhook, decode_bundle
from shared.process.health import Dependency
from shared.store.intake.webhooks import Lane

log = structlog.get_logger()

#: Webhooks of one group; past some 200 a transaction gains no more (measured, docs/performance.md).
MAX_GROUP_WEBHOOKS = 200
#: And the bytes of a lane's messages in it, one delivery apart: parsed they take some ten times as
#: much.
MAX_LANE_BYTES = 8_000_000
#: Of those, kept for the slow lane while both wait: a busy fast lane keeps its pace, an idle one
#: leaves everything to the slow.
SLOW_SHARE = 20
#: Unsettled deliveries a lane; a delivery is at most about 1 MB, one webhook of 3 MB apart.
PREFETCH: dict[Lane, int] = {"fast": 64, "slow": 16}
QUEUES: dict[Lane, str] = {"fast": RAW, "slow": RAW_SLOW}
#: How long deliveries are held while they cannot be stored; the broker's own limit is 30 minutes
#: (rabbitmq.com/docs/consumers#acknowledgement-timeout), and it would close the channel for us.
MAX_UNACKED_SECONDS = 20 * 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the broker handed it over, decoded. Not settled yet."""

    message: AbstractIncomingMessage
    lane: Lane
    webhooks: Sequence[Webhook]

    @property
    def was_redelivered(self) -> bool:
        """Handed out before: whoever had it may have died of it."""
        return bool(self.message.redelivered)

    async def ack(self) -> None:
        """Settle this delivery alone."""
        with ignoring_broker_loss():
            await self.message.ack()


class DeliveryQueue:
    """Deliveries wait here, bounded by the prefetch, until a worker takes a group of them."""

    def __init__(self, dependency: Dependency, metrics: ProcessorMetrics) -> None:
        self._dependency = dependency
        self._metrics = metrics
        self._lanes: dict[Lane, deque[Delivery]] = {"fast": deque(), "slow": deque()}
        self._changed = asyncio.Event()
        self._held = 0
        self._hold_ends: asyncio.TimerHandle | None = None
        self._returning = asyncio.Event()
        self._is_closed = False

    async def serve(self, amqp: AbstractConnection) -> None:
        """Consume both lanes until a channel is lost; made for `keep_connected`.

        What is unsettled then goes back to the broker.
        """
        self._returning.clear()
        channels = [await self._consume(amqp, lane) for lane in QUEUES]
        self._dependency.mark(up=True)
        ends = [asyncio.ensure_future(channel.closed()) for channel in channels]
        ends.append(asyncio.ensure_future(self._returning.wait()))
        try:
            await asyncio.wait(ends, return_when="FIRST_COMPLETED")
        finally:
            for end in ends:
                end.cancel()
            for waiting in self._lanes.values():
                waiting.clear()
            self._held = 0
            if self._hold_ends is not None:
                self._hold_ends.cancel()
            self._metrics.unknown_version.set(0)

    def return_all(self) -> None:
        """Return everything unsettled to the broker, by a new channel."""
        self._returning.set()

    async def take(self) -> list[Delivery]:
        """The next group, fast lane first; waits for one delivery. Empty once closed."""
        while not self._is_closed and not any(self._lanes.values()):
            self._changed.clear()
            await self._changed.wait()
        if self._is_closed:
            return []
        kept = SLOW_SHARE if self._lanes["slow"] else 0
        group = self._take_of("fast", MAX_GROUP_WEBHOOKS - kept)
        taken = sum(len(delivery.webhooks) for delivery in group)
        return group + self._take_of("slow", MAX_GROUP_WEBHOOKS - taken)

    def close(self) -> None:
        """Hand out no more groups."""
        self._is_closed = True
        self._changed.set()

    def _take_of(self, lane: Lane, room: int) -> list[Delivery]:
        """What fits, and the first in any case: neither lane waits for ever behind the other."""
        waiting, taken = self._lanes[lane], list[Delivery]()
        room_bytes = MAX_LANE_BYTES
        while waiting:
            count, size = len(waiting[0].webhooks), len(waiting[0].message.body)
            if taken and (count > room or size > room_bytes):
                break
            taken.append(waiting.popleft())
            room, room_bytes = room - count, room_bytes - size
        return taken

    async def _consume(self, amqp: AbstractConnection, lane: Lane) -> AbstractChannel:
        channel = await amqp.channel()
        await channel.set_qos(prefetch_count=PREFETCH[lane])
        queue = await channel.get_queue(QUEUES[lane], ensure=False)

        async def deliver(message: AbstractIncomingMessage) -> None:
            await self._arrive(message, lane)

        # A broker that cancels the consumer (its queue was deleted) says so once, and never again.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self.return_all())
        await queue.consume(deliver)
        return channel

    async def _arrive(self, message: AbstractIncomingMessage, lane: Lane) -> None:
        try:
            webhooks = decode_bundle(message.body)
        except BrokenEnvelope:
            log.error("bundle.broken", queue=QUEUES[lane])
            with ignoring_broker_loss():
                await message.reject(requeue=False)  # to the queue `dead`, bytes and all
            return
        except UnknownVersion:
            self._hold(lane)
            return
        self._lanes[lane].append(Delivery(message, lane, webhooks))
        self._changed.set()

    def _hold(self, lane: Lane) -> None:
        """Newer code wrote it: leave it unsettled, until the prefetch is full and intake pauses."""
        self._held += 1
        self._metrics.unknown_version.set(self._held)
        log.critical("bundle.unknown_version", queue=QUEUES[lane], count=self._held)
        if self._held == 1:
            loop = asyncio.get_running_loop()
            self._hold_ends = loop.call_later(MAX_UNACKED_SECONDS, self.return_all)
