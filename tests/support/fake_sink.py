"""A road whose `send` is in the hands of the test: a bundle arrives when the test says so."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from prometheus_client import CollectorRegistry, Histogram

from services.ingress.batching_sink import MAX_BATCHES_IN_FLIGHT, BatchingSink, PendingWebhook
from shared.messages import Webhook

AT = datetime(2026, 11, 3, tzinfo=UTC)


@dataclass
class Trip:
    bodies: list[bytes]
    seconds: float
    outcome: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def arrive(self) -> None:
        self.outcome.set_result(None)

    def sink(self) -> None:
        self.outcome.set_exception(ConnectionError("the broker went away"))


class Ferry:
    """`departed` gives each trip as it begins."""

    def __init__(self) -> None:
        self.trips: asyncio.Queue[Trip] = asyncio.Queue()

    async def departed(self) -> Trip:
        return await self.trips.get()

    async def send(self, pending: Sequence[PendingWebhook], seconds: float) -> None:
        trip = Trip([p.webhook.body for p in pending], seconds)
        self.trips.put_nowait(trip)
        await trip.outcome


def road_of(ferry: Ferry, *, seconds: float = 60.0) -> BatchingSink:
    bundles = Histogram("bundle_webhooks", "...", ["stored_via"], registry=CollectorRegistry())
    return BatchingSink("broker", ferry.send, seconds=seconds, bundles=bundles)


def board(sink: BatchingSink, *bodies: bytes, age: float = 0) -> list[asyncio.Task[None]]:
    """All at the same moment; `age` is how long ago they came to the door."""
    since = asyncio.get_running_loop().time() - age
    return [
        asyncio.create_task(
            sink.store(Webhook(UUID(int=0), AT, "whatsapp", "", body), "fast", since=since)
        )
        for body in bodies
    ]


async def outcomes(tasks: Sequence[asyncio.Task[None]]) -> list[type[BaseException] | None]:
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [None if one is None else type(one) for one in ended]


async def fill(sink: BatchingSink, ferry: Ferry) -> tuple[list[asyncio.Task[None]], list[Trip]]:
    """As many bundles on the way as may be, of one webhook each."""
    tasks, trips = [], []
    for number in range(MAX_BATCHES_IN_FLIGHT):
        tasks += board(sink, b"%d" % number)
        trips.append(await ferry.departed())
    return tasks, trips
