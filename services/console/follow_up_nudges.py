"""Nudges: they wake the processor for a due follow-up, which its loop would find anyway."""

from uuid_utils.compat import uuid7

from shared.broker.publisher import NotPublished, Publisher
from shared.broker.topology import PROVISION
from shared.messages import Nudge, encode_nudge

SEND_SECONDS = 0.5


class FollowUpNudges:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def send(self) -> None:
        """Send a nudge. If it cannot be published, do nothing: a lost nudge costs two seconds."""
        try:
            await self._publisher.publish(
                PROVISION,
                encode_nudge(Nudge(uuid7(), 1, 0)),
                headers={"attempt": 1},
                timeout=SEND_SECONDS,
            )
        except NotPublished:
            return
