"""A BatchingSink whose `send` the test controls: a bundle succeeds or fails when the test says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from prometheus_client import CollectorRegistry, Histogram

from services.ingress.sinks import MAX_BATCHES_IN_FLIGHT, BatchingSink, PendingWebhook
from shared.messages import Webhook

RECEIVED_AT = datetime(2026, 11, 3, tzinfo=UTC)


@dataclass
class SentBundle:
    """A bundle that `send` was called with. `seconds` is the time it was given."""

    bodies: list[bytes]
    seconds: float
    outcome: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def succeed(self) -> None:
        self.outcome.set_result(None)

    def fail(self) -> None:
        self.outcome.set_exception(ConnectionError("the broker went away"))


class FakeSink:
    """Plays the broker or the database behind a BatchingSink."""

    def __init__(self) -> None:
        self._bundles: asyncio.Queue[SentBundle] = asyncio.Queue()

    async def next_bundle(self) -> SentBundle:
        """Wait for the next call of `send`. Return its bundle."""
        return await self._bundles.get()

    async def send(self, pending: Sequence[PendingWebhook], seconds: float) -> None:
        bundle = SentBundle([p.webhook.body for p in pending], seconds)
        self._bundles.put_nowait(bundle)
        await bundle.outcome


def batching_sink(fake_sink: FakeSink, *, seconds: float = 60.0) -> BatchingSink:
    bundles = Histogram("bundle_webhooks", "...", ["stored_via"], registry=CollectorRegistry())
    return BatchingSink("broker", fake_sink.send, seconds=seconds, batch_sizes=bundles)


def submit(sink: BatchingSink, *bodies: bytes, age: float = 0) -> list[asyncio.Task[None]]:
    """Store a webhook for each body, all at the same moment. They were received `age` seconds ago.

    The tasks end when the webhooks are durable or their bundle failed.
    """
    since = asyncio.get_running_loop().time() - age
    return [
        asyncio.create_task(
            sink.store(Webhook(UUID(int=0), RECEIVED_AT, "whatsapp", "", body), "fast", since=since)
        )
        for body in bodies
    ]


async def outcomes(tasks: Sequence[asyncio.Task[None]]) -> list[type[BaseException] | None]:
    """Wait for all tasks. Return the type of each one's exception; None if it has none."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [None if result is None else type(result) for result in results]


async def submit_until_busy(
    sink: BatchingSink, fake_sink: FakeSink
) -> tuple[list[asyncio.Task[None]], list[SentBundle]]:
    """Submit webhooks, one a bundle, until as many bundles are in flight as are allowed."""
    tasks, bundles = [], []
    for number in range(MAX_BATCHES_IN_FLIGHT):
        tasks += submit(sink, b"%d" % number)
        bundles.append(await fake_sink.next_bundle())
    return tasks, bundles
