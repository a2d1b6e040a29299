"""Kill a process at every crash point. No webhook is lost, doubled or left unprocessed."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from pytest import MonkeyPatch

from deploy.local.chaos import owners
from deploy.local.oracle import bodies, event_queue, stored
from deploy.local.oracle.bodies import OFFBOARDED, Bodies, webhook
from deploy.local.oracle.checker import check
from deploy.local.oracle.expected import Posted
from deploy.local.simulated_meta.sender import Sender, Sent
from services.ingress.app import PATH
from shared.broker.topology import RAW
from shared.store.pool import Conn
from tests.support.broker import Broker
from tests.support.bundles import return_once
from tests.support.command_line import porteiro
from tests.support.crash_points import all_points, points
from tests.support.environment import APP_SECRET, BODY_KEY
from tests.support.processes import process, service, until_killed
from tests.support.proxy import open_proxy
from tests.support.refusing import refusing
from tests.support.sending import WABA
from tests.support.waiting import eventually


def crashing_process(file: Path) -> str:
    if file.parts[:2] == ("services", "ingress"):
        return "ingress"
    return "replay" if file.name == "letter_replays.py" else "processor"


CONNECTION = bodies.connection(WABA)
MADE = Bodies({WABA: CONNECTION}, random.Random(1))
#: Each kind of outcome: published, with an effect, failed and retried, dead at once.
WEBHOOKS = [
    *(webhook(MADE.message(WABA, number)) for number in range(8)),
    webhook(MADE.account_update(WABA, 8, OFFBOARDED, 1)),
    webhook(MADE.quality(WABA, 9)),
    webhook(MADE.share_of_no_waba(10)),
]
BODIES = [made.body for made in WEBHOOKS]
#: Changes that are dead at the end.
UNREADABLE = 1


@pytest.fixture
async def _owner_and_events(broker: Broker, database_url: str) -> AsyncIterator[None]:
    """Give the WABA an owner. Declare a queue that is bound to every event."""
    await event_queue.declare(broker.url)
    await owners.prepare(database_url, [CONNECTION])
    yield
    async with broker.amqp.channel() as channel:
        await channel.queue_delete(event_queue.QUEUE)


def test_crash_points_have_unique_names() -> None:
    names = [name for name, _ in all_points()]
    assert len(names) > 10
    assert len(names) == len(set(names))


@pytest.mark.usefixtures("_owner_and_events")
@pytest.mark.parametrize("point", sorted(points("webhook")))
async def test_after_a_crash_nothing_is_lost_or_doubled(
    point: str,
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
    monkeypatch: MonkeyPatch,
) -> None:
    crash = {"CRASH_AT": point}
    crashing = crashing_process(points("webhook")[point])
    ingress = environment
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        if point.startswith("bundle.stor"):  # the database sink stores only without the broker
            proxy = await stack.enter_async_context(open_proxy(broker.url))
            await proxy.cut()
            ingress = environment | {"RABBITMQ_URL": proxy.url}
        url = f"http://{environment['HOST']}:{environment['PORT']}{PATH}"
        sender = Sender(session, [url], APP_SECRET)
        stack.push_async_callback(sender.close)
        async with service(
            "ingress", ingress, **(crash if crashing == "ingress" else {})
        ) as first_ingress:
            first_half = asyncio.ensure_future(sender.send(BODIES[:4], "right"))
            if crashing == "ingress":
                await until_killed(first_ingress)
                await stack.enter_async_context(service("ingress", ingress))
            sent = await first_half
            await eventually(lambda: _are_over(sent))
            if ingress is environment:
                await return_once(broker, RAW)  # so that it is redelivered
            sent += await sender.send(BODIES[4:], "right")
            await eventually(lambda: _are_over(sent))
        await broker.put(RAW, b"no bundle")
        async with refusing(conn, "quality"):
            if crashing == "processor":
                async with process("services.processor", environment, **crash) as first_processor:
                    await eventually(lambda: _make_due_until_exit(conn, first_processor))
                    await until_killed(first_processor)
        await conn.execute("UPDATE follow_ups SET lease_until = '-infinity'")  # of the killed one
        async with service("processor", environment) as alive:
            await eventually(lambda: _make_due_until_processed(conn))
            if crashing == "replay":
                monkeypatch.setenv("CRASH_AT", point)
                letters = ("--fingerprint", await _fingerprint(conn), "--reason", "a test")
                code, _ = await porteiro("dead-letters", "replay", *letters)
                assert code == -signal.SIGKILL
                monkeypatch.delenv("CRASH_AT")
                replay_id = await conn.fetchval("SELECT id::text FROM replays")
                assert (await porteiro("dead-letters", "resume", replay_id))[0] == 0
                await eventually(lambda: _make_due_until_processed(conn))
                assert await conn.fetchval("SELECT done FROM replays") == 1
            assert alive.returncode is None
    posted = [
        Posted(made, sending.attempts, int(sending.status == 200))
        for made, sending in zip(WEBHOOKS, sent, strict=True)
    ]
    found = await stored.read(conn, BODY_KEY)
    ledger = check(posted, [CONNECTION], found, await event_queue.drain(broker.url))
    assert ledger.is_sound, ledger.remarks
    assert (ledger.acknowledged, ledger.dead) == (len(BODIES), UNREADABLE)
    assert await conn.fetchval("SELECT count(*) FROM dead_letters WHERE kind = 'message'") == 1


async def _are_over(sent: Sequence[Sent]) -> bool:
    return all(sending.is_over for sending in sent)


async def _make_due_until_exit(conn: Conn, process: asyncio.subprocess.Process) -> bool:
    """Make rows due again, because the process may reach its crash point only later."""
    await _make_due(conn, below_attempts=2)
    return process.returncode is not None


async def _make_due(conn: Conn, *, below_attempts: int) -> None:
    """End all leases, and the delays of changes with fewer than `below_attempts` attempts."""
    await conn.execute("UPDATE webhook_log SET lease_until = now() WHERE lease_until > now()")
    await conn.execute("UPDATE events SET due_at = now() WHERE published_at IS NULL")
    await conn.execute(
        "UPDATE webhook_changes SET lease_until = now(), next_attempt_at = now()"
        " WHERE state IN ('pending', 'failed') AND attempts < $1",
        below_attempts,
    )


async def _make_due_until_processed(conn: Conn) -> bool:
    await _make_due(conn, below_attempts=4)
    return bool(
        await conn.fetchval(
            """
            SELECT NOT EXISTS (SELECT FROM webhook_log WHERE state = 'unsplit')
                AND NOT EXISTS (SELECT FROM webhook_changes WHERE state IN ('pending', 'failed'))
                AND NOT EXISTS (SELECT FROM events WHERE published_at IS NULL)
                AND NOT EXISTS (
                    SELECT FROM follow_ups WHERE kind = 'attribute' AND state <> 'done'
                )
                AND EXISTS (SELECT FROM dead_letters WHERE kind = 'message')
                AND (SELECT count(DISTINCT digest) FROM webhook_log) = $1
            """,
            len(BODIES),
        )
    )


async def _fingerprint(conn: Conn) -> str:
    return str(await conn.fetchval("SELECT fingerprint FROM dead_letters WHERE kind = 'change'"))
