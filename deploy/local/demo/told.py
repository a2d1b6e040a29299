"""The demo as the company's backend sees it: every event, each as the contract says."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from deploy.local.oracle import event_queue
from deploy.local.oracle.contract import is_in_contract

#: How long the last events may take.
DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ToldEvents:
    """How many events the demo told, and the types of those that are not as their contract says."""

    count: int
    faulty: tuple[str, ...]

    @property
    def came_true(self) -> bool:
        return self.count > 0 and not self.faulty

    def summary(self) -> str:
        result = f"NOT {', '.join(self.faulty)}" if self.faulty else "each as the contract says"
        return f"The company was told {self.count} events: {result}."


async def told(stack: Mapping[str, Any]) -> ToldEvents:
    """Return what was told since the queue was declared. Remove the queue."""
    conn = await asyncpg.connect(stack["database"])
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while await conn.fetchval("SELECT true FROM events WHERE published_at IS NULL LIMIT 1"):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
    finally:
        await conn.close()
    events = [json.loads(one.body) for one in await event_queue.drain(stack["rabbitmq"])]
    await event_queue.delete(stack["rabbitmq"])
    faulty = {event["type"] for event in events if not is_in_contract(event)}
    return ToldEvents(len(events), tuple(sorted(faulty)))
