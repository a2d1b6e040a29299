"""Send nudges through the delay queues: a row will be due. Only the row decides."""

import asyncio
from collections.abc import Sequence

from services.processor.metrics import ProcessorMetrics
from shared.broker.publisher import NotPublished, Publisher
from shared.broker.topology import CHANGES, retry_name
from shared.messages import Nudge, encode_nudge
from shared.process.crash_points import crash_point

SEND_SECONDS = 1.0


class RetryNudges:
    def __init__(self, publisher: Publisher, metrics: ProcessorMetrics) -> None:
        self._publisher = publisher
        self._metrics = metrics

    async def send(self, nudges: Sequence[Nudge]) -> None:
        """Send each nudge, without a guarantee: the loop also finds a row whose nudge is lost."""
        await asyncio.gather(*map(self._send, nudges))

    async def _send(self, nudge: Nudge) -> None:
        try:
            await self._publisher.publish(
                CHANGES,
                encode_nudge(nudge),
                exchange=retry_name(nudge.seconds),
                headers={"attempt": nudge.attempt},
                timeout=SEND_SECONDS,
            )
        except NotPublished:
            self._metrics.nudges.labels("lost").inc()
        else:
            self._metrics.nudges.labels("sent").inc()
        crash_point("nudge.sent")
