"""Split webhooks into their changes, some at a time, while others are served."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

from shared.domain.splitting import Change, split
from shared.messages import Webhook
from shared.store.due import Lease
from shared.store.intake.webhooks import Lane

#: Changes that are stored together. One webhook more may be added.
MAX_PART_CHANGES = 2_000
#: A larger body is split in a thread: 3 MB of it take up to 0.3 s.
MAX_INLINE_BYTES = 100_000


class SplitWebhook(NamedTuple):
    """A webhook and its changes. `error` is why attempt number `attempt` could not split it."""

    webhook: Webhook
    lane: Lane
    changes: Sequence[Change] = ()
    error: Exception | None = None
    attempt: int = 1

    @property
    def lease(self) -> Lease:
        return Lease(self.webhook.id, self.attempt)


def split_webhook(webhook: Webhook, lane: Lane, attempt: int) -> SplitWebhook:
    """Split a webhook. Never raise: an error becomes part of the result."""
    try:
        parts = split(webhook.body, is_test=webhook.kind == "test")
        return SplitWebhook(webhook, lane, parts, attempt=attempt)
    except Exception as error:
        return SplitWebhook(webhook, lane, error=error, attempt=attempt)


async def split_in_parts(
    webhooks: Iterable[tuple[Webhook, Lane, int]],
) -> AsyncIterator[list[SplitWebhook]]:
    """Split webhooks, and yield them in parts of some MAX_PART_CHANGES changes.

    Others are served meanwhile: a large body is split in a thread.
    """
    part: list[SplitWebhook] = []
    count = 0
    for webhook, lane, attempt in webhooks:
        if len(webhook.body) > MAX_INLINE_BYTES:
            part.append(await asyncio.to_thread(split_webhook, webhook, lane, attempt))
        else:
            part.append(split_webhook(webhook, lane, attempt))
        count += len(part[-1].changes)
        if count >= MAX_PART_CHANGES:
            yield part
            part, count = [], 0
        elif len(part[-1].changes) > MAX_PART_CHANGES // 10:
            await asyncio.sleep(0)
    if part:
        yield part
