"""Receive RabbitMQ's deliveries and hand them out in groups. Each is acked once committed."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from shared.broker.connect import cancellation_as_broker_lost, ignoring_broker_loss
from shared.broker.topology import RAW, RAW_SLOW
from shared.messages import BrokenBundle, Webhook, decode_bundle
from shared.process.health import Dependency
from shared.store.intake.webhooks import Lane

log = structlog.get_logger()

#: Webhooks in one group. More than about 200 in a transaction bring no gain (measured,
#: docs/performance.md).
MAX_GROUP_WEBHOOKS = 200
#: Bytes of one lane's messages in a group. A single larger delivery is taken alone. Parsed messages
#: use about ten times as much memory.
MAX_LANE_BYTES = 8_000_000
#: The slow lane's webhooks in a group while both lanes wait, or one delivery of it. No more, so
#: that a group with webhooks of the fast lane stays short. An idle fast lane leaves the whole group
#: to the slow one.
SLOW_SHARE = 20
#: Unacked deliveries of each lane. A delivery has at most about 1 MB, except a single webhook of
#: 3 MB.
PREFETCH: dict[Lane, int] = {"fast": 64, "slow": 16}
QUEUES: dict[Lane, str] = {"fast": RAW, "slow": RAW_SLOW}
#: What a backlog is: a delivery that waited this long here, or so many messages in the broker.
BACKLOG_SECONDS = 0.25
BACKLOG_MESSAGES = 64
#: How long the broker may take to say how many messages wait.
COUNT_SECONDS = 1.0
#: How long a delivery rests after an interruption; twice as long after each other one.
REST_SECONDS = 0.1
MAX_REST_SECONDS = 60.0
#: How long deliveries stay unacked while they cannot be stored. RabbitMQ's own limit is 30 minutes;
#: after that it closes the channel (rabbitmq.com/docs/consumers#acknowledgement-timeout).
MAX_UNACKED_SECONDS = 20 * 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message from the broker, decoded and still unacked. `taken_at` is the loop's time.

    `newer` is what only newer code can read. `interruptions`: how often an error interrupted its
    group. `refusals`: how often PostgreSQL refused it.
    """

    message: AbstractIncomingMessage
    lane: Lane
    webhooks: Sequence[Webhook]
    newer: bytes | None
    taken_at: float
    interruptions: int = 0
    refusals: int = 0

    @property
    def is_suspect(self) -> bool:
        """Return whether a process may have crashed on it, or it may interrupt its group."""
        return bool(self.message.redelivered) or self.interruptions > 0

    async def refuse(self) -> None:
        """Refuse this delivery for good: it goes to the queue `dead`, unchanged."""
        with ignoring_broker_loss():
            await self.message.reject(requeue=False)

    async def ack(self) -> None:
        """Ack this delivery and no other."""
        with ignoring_broker_loss():
            await self.message.ack()


class DeliveryQueue:
    """Keep deliveries, limited by the prefetch, until a worker takes a group of them."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._lanes: dict[Lane, deque[Delivery]] = {"fast": deque(), "slow": deque()}
        #: Deliveries that rest after an interruption, and those whose rest has ended.
        self._resting: dict[object, Delivery] = {}
        self._isolated: deque[Delivery] = deque()
        self._is_isolated_taken = False
        self._channels: dict[Lane, AbstractChannel] = {}
        self._changed = asyncio.Event()
        self._return_requested = asyncio.Event()
        self._is_closed = False

    async def serve(self, amqp: AbstractConnection) -> None:
        """Consume both lanes until a channel is lost. Pass this to `keep_connected`.

        All unacked deliveries then return to the broker.
        """
        self._return_requested.clear()
        self._channels = {lane: await self._consume(amqp, lane) for lane in QUEUES}
        self._dependency.mark(up=True)
        ends = [asyncio.ensure_future(channel.closed()) for channel in self._channels.values()]
        ends.append(asyncio.ensure_future(self._return_requested.wait()))
        try:
            await asyncio.wait(ends, return_when="FIRST_COMPLETED")
        finally:
            self._channels.clear()
            for end in ends:
                end.cancel()
            for waiting in self._lanes.values():
                waiting.clear()
            self._resting.clear()
            self._isolated.clear()
            self._is_isolated_taken = False

    async def has_backlog(self) -> bool:
        """Return whether webhooks wait for others, here or in the broker.

        A broker that does not say in time how many messages wait has too many. Return False without
        a connection. Raise BrokerLost or AMQPError.
        """
        now = asyncio.get_running_loop().time()
        for waiting in self._lanes.values():
            if waiting and now - waiting[0].taken_at > BACKLOG_SECONDS:
                return True
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                for lane, channel in list(self._channels.items()):
                    with cancellation_as_broker_lost():
                        queue = await channel.declare_queue(QUEUES[lane], passive=True)
                    if (queue.declaration_result.message_count or 0) > BACKLOG_MESSAGES:
                        return True
        except TimeoutError:
            return True
        return False

    def return_all(self) -> None:
        """Return all unacked deliveries to the broker, by opening new channels."""
        self._return_requested.set()

    async def take(self) -> list[Delivery]:
        """Wait for a delivery and return the next group, fast lane first. Return [] once closed.

        A delivery that was put back is returned alone, one at a time: others go on beside it.
        """
        while not self._is_closed:
            if (isolated := self._take_isolated()) is not None:
                return [isolated]
            if any(self._lanes.values()):
                return self._take_group()
            self._changed.clear()
            await self._changed.wait()
        return []

    def put_back(self, delivery: Delivery, *, is_refused: bool) -> None:
        """Hand out this delivery again, alone, after a rest that doubles each time.

        If it has been unacked for MAX_UNACKED_SECONDS, return all to the broker instead.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - delivery.taken_at > MAX_UNACKED_SECONDS:
            self.return_all()
            return
        rest = min(REST_SECONDS * 2**delivery.interruptions, MAX_REST_SECONDS)
        again = replace(
            delivery,
            interruptions=delivery.interruptions + 1,
            refusals=delivery.refusals + is_refused,
        )
        key = object()
        self._resting[key] = again
        loop.call_later(rest, self._end_rest, key)

    def _end_rest(self, key: object) -> None:
        """Hand the delivery out again, unless it has returned to the broker meanwhile.

        No clock is read: uvloop's is rounded, and a rest that seems to last a moment longer than
        its timer would never end.
        """
        if (delivery := self._resting.pop(key, None)) is not None:
            self._isolated.append(delivery)
            self._changed.set()

    def _take_isolated(self) -> Delivery | None:
        if self._is_isolated_taken or not self._isolated:
            return None
        self._is_isolated_taken = True
        return self._isolated.popleft()

    def end_isolated(self) -> None:
        """Allow the next one: the isolated delivery that was taken is done."""
        self._is_isolated_taken = False
        self._changed.set()

    def _take_group(self) -> list[Delivery]:
        slow_share = SLOW_SHARE if self._lanes["slow"] else 0
        fast = self._take_from("fast", MAX_GROUP_WEBHOOKS - slow_share)
        return fast + self._take_from("slow", SLOW_SHARE if fast else MAX_GROUP_WEBHOOKS)

    def close(self) -> None:
        """Hand out no more groups: `take` returns []."""
        self._is_closed = True
        self._changed.set()

    def _take_from(self, lane: Lane, room: int) -> list[Delivery]:
        """Take the deliveries that fit, and always the first, so that no lane waits for ever."""
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
            await self._add(message, lane)

        # If the queue is deleted, the broker cancels the consumer and reports that only once.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self.return_all())
        await queue.consume(deliver)
        return channel

    async def _add(self, message: AbstractIncomingMessage, lane: Lane) -> None:
        try:
            webhooks, newer = decode_bundle(message.body)
        except BrokenBundle:
            log.error("bundle.broken", queue=QUEUES[lane])
            with ignoring_broker_loss():
                await message.reject(requeue=False)  # to the queue `dead`, unchanged
            return
        taken_at = asyncio.get_running_loop().time()
        self._lanes[lane].append(Delivery(message, lane, webhooks, newer, taken_at))
        self._changed.set()
