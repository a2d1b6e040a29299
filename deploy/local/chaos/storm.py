"""Run a storm on a running stack: webhooks are sent while servers and services fail."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

import aiohttp
import asyncpg
from rich.console import Console
from rich.table import Table
from yarl import URL

from deploy.local.chaos import owners
from deploy.local.oracle import bodies, event_queue, stored
from deploy.local.oracle.bodies import Bodies
from deploy.local.oracle.checker import check
from deploy.local.oracle.expected import ExpectedWebhook, Posted
from deploy.local.oracle.ledger import Ledger
from deploy.local.simulated_meta.sender import Sender, Sent
from services.ingress.app import PATH

WEBHOOKS_PER_SECOND = 100
#: The longest wait, after the storm, until nothing is left to do: leases expire after 60 s, Meta's
#: last retry comes after about two minutes.
CALM_SECONDS = 300
#: RabbitMQ's counts are up to 10 s old: a queue that has just been filled may still seem empty.
QUIET_SECONDS = 15
#: Bodies with this number or a higher one are sent with a wrong signature.
FORGED = 10_000_000


class Disruption(Protocol):
    """What is done to the servers while webhooks come, and which promises it checks."""

    seconds: int

    async def run(self) -> None:
        """Inject the faults. Return when every server works again."""

    def summary(self, sent: Sequence[Sent]) -> str:
        """Return a line that says what was done."""

    def failures(self, sent: Sequence[Sent]) -> list[str]:
        """Return the broken promises, one text each."""


def run(stack: dict[str, Any], disruption: Disruption, *, seed: int) -> bool:
    """Run the storm and print the ledger. Return True if the run is sound and nothing is pending.

    `stack` is the content of stack.json.
    """
    console = Console(width=100)
    console.print(
        f"sending {WEBHOOKS_PER_SECOND} webhooks/s for {disruption.seconds} s, seed {seed}"
    )
    sent, ledger = asyncio.run(_run(stack, disruption, seed))
    failures = disruption.failures(sent) + ledger.remarks
    table = Table(title="The ledger", show_header=False)
    for name, count in ledger.counts().items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    console.print(disruption.summary(sent))
    for failure in failures:
        console.print(failure, style="red")
    console.print(f"seed {seed}: {'NOT SOUND' if failures else 'sound'}")
    return not failures


async def _run(
    stack: dict[str, Any], disruption: Disruption, seed: int
) -> tuple[Sequence[Sent], Ledger]:
    connections = bodies.connections()
    await event_queue.declare(stack["rabbitmq"])
    await owners.prepare(stack["database"], connections.values())
    pick = random.Random(seed)
    async with aiohttp.ClientSession() as session:
        doors = [stack["ingress"], *stack.get("more_ingresses", ())]
        sender = Sender(session, [door + PATH for door in doors], stack["app_secret"])
        disrupting = asyncio.create_task(disruption.run())
        posted = await _send(sender, disruption.seconds, Bodies(connections, pick), pick)
        await disrupting
        await _until_quiet(stack, [sent for _, sent in posted])
        await sender.close()
    told = await event_queue.drain(stack["rabbitmq"])
    entries = [Posted(webhook, sent.attempts, int(sent.status == 200)) for webhook, sent in posted]
    conn = await asyncpg.connect(stack["database"])
    try:
        found = await stored.read(conn, stack["body_encryption_key"])
    finally:
        await conn.close()
    return [sent for _, sent in posted], check(entries, connections.values(), found, told)


async def _send(
    sender: Sender, seconds: int, made: Bodies, pick: random.Random
) -> Sequence[tuple[ExpectedWebhook, Sent]]:
    """Send webhooks at a steady rate, whatever the answers are. What must come of each is written
    down before.

    One in twenty is sent twice. Beside one in fifty, a forged webhook is sent too.
    """
    forged_tasks: list[asyncio.Task[list[Sent]]] = []
    tasks: list[tuple[ExpectedWebhook, asyncio.Task[list[Sent]]]] = []
    started = time.monotonic()
    for number in range(seconds * WEBHOOKS_PER_SECOND):
        webhook = made.make(number)
        if pick.random() < 0.02:  # it must be refused: nobody expects its row
            forged = bodies.broken(FORGED + number).body
            forged_tasks.append(asyncio.create_task(sender.send([forged], "wrong")))
        copies = 2 if pick.random() < 0.05 else 1
        sending = asyncio.create_task(sender.send([webhook.body] * copies, "right"))
        tasks.append((webhook, sending))
        await asyncio.sleep(max(0.0, started + number / WEBHOOKS_PER_SECOND - time.monotonic()))
    await asyncio.gather(*forged_tasks)
    return [(webhook, sent) for webhook, task in tasks for sent in await task]


async def _until_quiet(stack: dict[str, Any], sent: Sequence[Sent]) -> None:
    """Wait until nothing has been left to do for QUIET_SECONDS, at most CALM_SECONDS."""
    started = quiet_since = time.monotonic()
    while (now := time.monotonic()) < min(started + CALM_SECONDS, quiet_since + QUIET_SECONDS):
        if not all(one.is_over for one in sent) or not await _nothing_is_left(stack):
            quiet_since = time.monotonic()
        await asyncio.sleep(max(0.0, now + 1 - time.monotonic()))


async def _nothing_is_left(stack: dict[str, Any]) -> bool:
    """Return True if no row and no queue has work left. Return False while a server is away."""
    try:
        conn = await asyncpg.connect(stack["database"], timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        no_row_is_left = await conn.fetchval(
            """
            SELECT NOT EXISTS (SELECT FROM webhook_log WHERE state = 'unsplit')
                AND NOT EXISTS (SELECT FROM webhook_changes WHERE state IN ('pending', 'failed'))
                AND NOT EXISTS (SELECT FROM events WHERE published_at IS NULL)
                AND NOT EXISTS (
                    SELECT FROM follow_ups WHERE kind = 'attribute' AND state <> 'done'
                )
            """
        )
    finally:
        await conn.close()
    return bool(no_row_is_left) and await _queues_are_empty(stack)


async def _queues_are_empty(stack: dict[str, Any]) -> bool:
    """Ask RabbitMQ's management. It counts unacknowledged messages too."""
    url = URL(stack["rabbitmq"])
    auth = aiohttp.BasicAuth(str(url.user), str(url.password))
    try:
        async with (
            aiohttp.ClientSession(auth=auth) as session,
            session.get(f"{stack['rabbitmq_management']}/api/queues") as answer,
        ):
            queues = await answer.json()
    except aiohttp.ClientError:
        return False
    return isinstance(queues, list) and not any(
        queue.get("messages", 1) for queue in queues if queue["name"] != event_queue.QUEUE
    )
