"""A storm over a running stack: Meta sends on while its servers and services die and freeze."""

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
from shared.actions import connection_state
from shared.broker.topology import EVENTS
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding

WEBHOOKS_PER_SECOND = 100
WABAS = [str(710_000_000_000_000 + n) for n in range(10)]
#: The first half has owners, who are told; the others are orphans.
OWNED = WABAS[: len(WABAS) // 2]
#: After the storm, until all is settled: leases lapse after 60 s, Meta's last retry comes after
#: some two minutes.
SETTLE_SECONDS = 300
QUEUE = "chaos"
#: Bodies with these numbers and above are sent with a wrong signature.
FORGED = 10_000_000
_EVENTS = ("ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED", "ACCOUNT_RESTRICTION", "DISABLED_UPDATE")


class Trouble(Protocol):
    """What happens to the servers while webhooks come, and what that shall prove beside."""

    seconds: int

    async def rage(self) -> None: ...

    def summary(self, sent: Sequence[Sent]) -> str: ...

    def faults(self, sent: Sequence[Sent]) -> list[str]: ...


def blow(facts: dict[str, Any], trouble: Trouble, *, seed: int) -> bool:
    """Whether nothing was lost or doubled, and nothing is left to do."""
    console = Console(width=100)
    console.print(f"{trouble.seconds} s of {WEBHOOKS_PER_SECOND} webhooks/s, seed {seed}")
    sent, ledger = asyncio.run(_blow(facts, trouble, seed))
    faults = trouble.faults(sent) + ledger.remarks
    if ledger.pending:
        faults.append(f"pending: {ledger.pending} after {SETTLE_SECONDS} s of calm")
    table = Table(title="The ledger", show_header=False)
    for name, count in ledger.counts().items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    console.print(trouble.summary(sent))
    for fault in faults:
        console.print(fault, style="red")
    console.print(f"seed {seed}: {'NOT SOUND' if faults else 'sound'}")
    return not faults


async def _blow(
    facts: dict[str, Any], trouble: Trouble, seed: int
) -> tuple[Sequence[Sent], Ledger]:
    await _prepare(facts)
    async with aiohttp.ClientSession() as session:
        sender = Sender(session, facts["ingress"] + PATH, facts["app_secret"])
        raging = asyncio.create_task(trouble.rage())
        posted = await _send(sender, trouble.seconds, random.Random(seed))  # noqa: S311
        await raging
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if all(sent.is_over for _, sent in posted) and await _is_settled(facts):
                break
            await asyncio.sleep(1)
        await sender.close()
    told = await _drain(facts)
    entries = [Posted(body, sent.attempts, int(sent.status == 200)) for body, sent in posted]
    database = await asyncpg.connect(facts["database"])
    try:
        return [sent for _, sent in posted], await check(entries, database, told)
    finally:
        await database.close()


async def _prepare(facts: dict[str, Any]) -> None:
    """A queue that keeps every event, and owners."""
    async with await aio_pika.connect(facts["rabbitmq"]) as broker, broker.channel() as channel:
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(EVENTS, "#")
    database = await asyncpg.connect(facts["database"])
    try:
        for waba_id in OWNED:
            async with database.transaction():
                await organizations.add(database, f"org-{waba_id}")
                until = datetime.now(UTC) + timedelta(days=1)
                await onboardings.start(database, NewOnboarding(f"org-{waba_id}", waba_id, until))
                long_ago = datetime(2026, 1, 1, tzinfo=UTC)
                await connection_state.record_proof(database, waba_id, waba_id, None, long_ago)
    finally:
        await database.close()


async def _send(sender: Sender, seconds: int, pick: random.Random) -> Sequence[tuple[bytes, Sent]]:
    """At a steady rate whatever is answered; one in twenty is sent twice, one in fifty forged."""
    forging: list[asyncio.Task[list[Sent]]] = []
    under_way: list[tuple[bytes, asyncio.Task[list[Sent]]]] = []
    started = time.monotonic()
    for number in range(seconds * WEBHOOKS_PER_SECOND):
        body = write(_body(number, pick))
        if pick.random() < 0.02:  # a row of it would be unexpected
            forged = write(_body(FORGED + number, pick))
            forging.append(asyncio.create_task(sender.send([forged], "wrong")))
        copies = 2 if pick.random() < 0.05 else 1
        under_way.append((body, asyncio.create_task(sender.send([body] * copies, "right"))))
        await asyncio.sleep(max(0.0, started + number / WEBHOOKS_PER_SECOND - time.monotonic()))
    await asyncio.gather(*forging)
    return [(body, sent) for body, task in under_way for sent in await task]


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


async def _is_settled(facts: dict[str, Any]) -> bool:
    """Nothing waits in the queues or in the rows; False while a server is away."""
    try:
        database = await asyncpg.connect(facts["database"], timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        at_rest = await database.fetchval(
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
        await database.close()
    return bool(at_rest) and await _queues_are_empty(facts)


async def _queues_are_empty(facts: dict[str, Any]) -> bool:
    """As RabbitMQ's management tells it: unacknowledged messages count too."""
    url = URL(facts["rabbitmq"])
    auth = aiohttp.BasicAuth(str(url.user), str(url.password))
    try:
        async with (
            aiohttp.ClientSession(auth=auth) as session,
            session.get(f"{facts['rabbitmq_management']}/api/queues") as answer,
        ):
            queues = await answer.json()
    except aiohttp.ClientError:
        return False
    return isinstance(queues, list) and not any(
        queue.get("messages", 1) for queue in queues if queue["name"] != QUEUE
    )


async def _drain(facts: dict[str, Any]) -> list[bytes]:
    told = []
    async with await aio_pika.connect(facts["rabbitmq"]) as broker, broker.channel() as channel:
        await channel.set_qos(prefetch_count=500)
        queue = await channel.get_queue(QUEUE)
        try:
            async with queue.iterator(timeout=3) as events:
                async for event in events:
                    await event.ack()
                    told.append(event.body)
        except TimeoutError:
            pass  # empty
    return told
