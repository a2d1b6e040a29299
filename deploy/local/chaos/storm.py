"""Run a storm on a running stack: webhooks are sent while servers and services fail."""

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import aio_pika
import aiohttp
import asyncpg
from rich.console import Console
from rich.table import Table
from yarl import URL

from deploy.local.chaos.checker import Posted, check
from deploy.local.chaos.ledger import Ledger
from deploy.local.simulated_meta.sender import Sender, Sent
from deploy.local.simulated_meta.writing import write
from services.ingress.app import PATH
from shared.actions import ownership
from shared.broker.topology import EVENTS
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding

WEBHOOKS_PER_SECOND = 100
WABAS = [str(710_000_000_000_000 + n) for n in range(10)]
#: The first half has owners, who receive events. The other half are orphans.
OWNED = WABAS[: len(WABAS) // 2]
#: The longest wait, after the storm, until nothing is left to do: leases expire after 60 s, Meta's
#: last retry comes after about two minutes.
CALM_SECONDS = 300
QUEUE = "chaos"
#: Bodies with this number or a higher one are sent with a wrong signature.
FORGED = 10_000_000
_EVENTS = ("ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED", "ACCOUNT_RESTRICTION", "DISABLED_UPDATE")


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
    if ledger.pending:
        failures.append(f"pending: {ledger.pending} {CALM_SECONDS} s after the storm")
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
    await _prepare(stack)
    async with aiohttp.ClientSession() as session:
        doors = [stack["ingress"], *stack.get("more_ingresses", ())]
        sender = Sender(session, [door + PATH for door in doors], stack["app_secret"])
        disrupting = asyncio.create_task(disruption.run())
        posted = await _send(sender, disruption.seconds, random.Random(seed))
        await disrupting
        deadline = time.monotonic() + CALM_SECONDS
        while time.monotonic() < deadline:
            if all(sent.is_over for _, sent in posted) and await _nothing_is_left(stack):
                break
            await asyncio.sleep(1)
        await sender.close()
    events = await _drain(stack)
    entries = [Posted(body, sent.attempts, int(sent.status == 200)) for body, sent in posted]
    conn = await asyncpg.connect(stack["database"])
    try:
        return [sent for _, sent in posted], await check(entries, conn, events)
    finally:
        await conn.close()


async def _prepare(stack: dict[str, Any]) -> None:
    """Declare a queue that receives every event, and give owners to the WABAs of OWNED."""
    async with await aio_pika.connect(stack["rabbitmq"]) as broker, broker.channel() as channel:
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(EVENTS, "#")
    conn = await asyncpg.connect(stack["database"])
    try:
        for waba_id in OWNED:
            async with conn.transaction():
                await organizations.add(conn, f"org-{waba_id}")
                until = datetime.now(UTC) + timedelta(days=1)
                await onboardings.start(conn, NewOnboarding(f"org-{waba_id}", waba_id, until))
                long_ago = datetime(2026, 1, 1, tzinfo=UTC)
                row = await connections.ensure_locked(conn, waba_id)
                await ownership.record_proof(conn, row, waba_id, None, long_ago)
    finally:
        await conn.close()


async def _send(sender: Sender, seconds: int, pick: random.Random) -> Sequence[tuple[bytes, Sent]]:
    """Send webhooks at a steady rate, whatever the answers are.

    One in twenty is sent twice. Beside one in fifty, a forged webhook is sent too.
    """
    forged_tasks: list[asyncio.Task[list[Sent]]] = []
    tasks: list[tuple[bytes, asyncio.Task[list[Sent]]]] = []
    started = time.monotonic()
    for number in range(seconds * WEBHOOKS_PER_SECOND):
        body = write(_body(number, pick))
        if pick.random() < 0.02:  # it must be refused: its row would be unexpected
            forged = write(_body(FORGED + number, pick))
            forged_tasks.append(asyncio.create_task(sender.send([forged], "wrong")))
        copies = 2 if pick.random() < 0.05 else 1
        tasks.append((body, asyncio.create_task(sender.send([body] * copies, "right"))))
        await asyncio.sleep(max(0.0, started + number / WEBHOOKS_PER_SECOND - time.monotonic()))
    await asyncio.gather(*forged_tasks)
    return [(body, sent) for body, task in tasks for sent in await task]


def _body(number: int, pick: random.Random) -> dict[str, Any]:
    waba_id = pick.choice(WABAS)
    entry: dict[str, Any] = {"id": waba_id}
    if pick.random() < 0.1:
        event = pick.choice(_EVENTS)
        value: dict[str, Any] = {"event": event}
        if event == "DISABLED_UPDATE":
            value["ban_info"] = {"waba_ban_state": pick.choice(("DISABLE", "REINSTATE"))}
        elif event == "ACCOUNT_RESTRICTION":
            value["restriction_info"] = [{"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"}]
        entry["time"] = 1_790_000_000 + pick.randrange(1_000_000)  # in any order
        change = {"field": "account_update", "value": value | {"number": number}}
    else:
        item = {
            "from": "15550004444", "id": f"wamid.CHAOS{number}", "type": "text",
            "timestamp": str(1_790_000_000 + number), "text": {"body": f"olá {number}"},
        }  # fmt: skip
        metadata = {"display_phone_number": "15551230000", "phone_number_id": f"2{waba_id[1:]}"}
        value = {"messaging_product": "whatsapp", "metadata": metadata, "messages": [item]}
        change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [entry | {"changes": [change]}]}


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
                AND NOT EXISTS (
                    SELECT FROM webhook_changes JOIN whatsapp_connections USING (waba_id)
                    WHERE webhook_changes.organization_id IS NULL AND attribution = 'tracking_code'
                )
                AND NOT EXISTS (SELECT FROM events WHERE published_at IS NULL)
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
        queue.get("messages", 1) for queue in queues if queue["name"] != QUEUE
    )


async def _drain(stack: dict[str, Any]) -> list[bytes]:
    """Return the bodies of all events in the queue, and remove them."""
    bodies = []
    async with await aio_pika.connect(stack["rabbitmq"]) as broker, broker.channel() as channel:
        await channel.set_qos(prefetch_count=500)
        queue = await channel.get_queue(QUEUE)
        try:
            async with queue.iterator(timeout=3) as events:
                async for event in events:
                    await event.ack()
                    bodies.append(event.body)
        except TimeoutError:
            pass  # the queue is empty
    return bodies
