"""Killed at every point where it could hurt: nothing lost, nothing doubled, nothing left behind."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aio_pika.abc import AbstractQueue
from pytest import MonkeyPatch

from deploy.local.chaos.checker import Posted, check
from deploy.local.simulated_meta.sender import Sender, Sent
from deploy.local.simulated_meta.writing import write
from services.ingress.app import PATH
from shared.actions import connection_state
from shared.broker.topology import EVENTS, RAW
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, transaction
from tests.support.broker import Broker
from tests.support.bundles import hand_back_once
from tests.support.command_line import porteiro
from tests.support.crash_points import named, points
from tests.support.environment import APP_SECRET
from tests.support.processes import process, service, until_dead
from tests.support.proxy import open_proxy
from tests.support.refusing import refusing
from tests.support.sending import WABA, account_update, message
from tests.support.waiting import eventually


def who_crashes(place: Path) -> str:
    if place.parts[:2] == ("services", "ingress"):
        return "ingress"
    return "replay" if place.name == "letter_replays.py" else "processor"


#: One of each kind of end: told to the owner, with an effect, failed and tried again, dead at once.
BODIES = [
    *(write(message(n)) for n in range(8)),
    write(account_update("ACCOUNT_OFFBOARDED", time=1_795_000_000)),
    write(account_update("ACCOUNT_VIOLATION", violation_info={"violation_type": "ADULT"})),
    write(account_update("PARTNER_ADDED", waba_info={"waba_id": "none"})),
]
#: What is left when all is over.
UNTELLABLE = 1


@pytest.fixture
async def heard(broker: Broker, pool: Pool) -> AsyncIterator[AbstractQueue]:
    """The WABA has an owner, and a queue is bound to every event."""
    async with transaction(pool) as conn:
        await organizations.add(conn, "bakery")
        until = datetime.now(UTC) + timedelta(hours=1)
        await onboardings.start(conn, NewOnboarding("bakery", "code-1", until))
        at = datetime(2026, 1, 1, tzinfo=UTC)
        assert await connection_state.record_proof(conn, "code-1", WABA, None, at)
    async with broker.connection.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "#")
        yield queue


def test_there_are_points_and_each_has_a_name_of_its_own() -> None:
    names = [name for name, _ in named()]
    assert len(names) > 10
    assert len(names) == len(set(names))


@pytest.mark.parametrize("point", sorted(points("webhook")))
async def test_after_a_crash_nothing_is_lost_or_doubled(
    point: str,
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
    heard: AbstractQueue,
    monkeypatch: MonkeyPatch,
) -> None:
    crash = {"CRASH_AT": point}
    who = who_crashes(points("webhook")[point])
    ingress = environment
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        if point.startswith("bundle.stor"):  # the road that is taken while the broker is away
            proxy = await stack.enter_async_context(open_proxy(broker.url))
            await proxy.cut()
            ingress = environment | {"RABBITMQ_URL": proxy.url}
        url = f"http://{environment['HOST']}:{environment['PORT']}{PATH}"
        sender = Sender(session, url, APP_SECRET)
        stack.push_async_callback(sender.close)
        async with service("ingress", ingress, **(crash if who == "ingress" else {})) as door:
            sending = asyncio.ensure_future(sender.send(BODIES[:4], "right"))
            if who == "ingress":
                await until_dead(door)
                await stack.enter_async_context(service("ingress", ingress))
            sent = await sending
            await eventually(lambda: _all_over(sent))
            if ingress is environment:
                await hand_back_once(broker, RAW)  # as a delivery that was tried before
            sent += await sender.send(BODIES[4:], "right")
            await eventually(lambda: _all_over(sent))
        await broker.put(RAW, b"no bundle")
        async with refusing(conn, "violation"):
            if who == "processor":
                async with process("services.processor", environment, **crash) as first:
                    await eventually(lambda: _age_until_ended(conn, first))
                    await until_dead(first)
        async with service("processor", environment) as alive:
            await eventually(lambda: _age_until_settled(conn))
            if who == "replay":
                monkeypatch.setenv("CRASH_AT", point)
                letters = ("--fingerprint", await _fingerprint(conn), "--reason", "a test")
                code, _ = await porteiro("dead-letters", "replay", *letters)
                assert code == -signal.SIGKILL
                monkeypatch.delenv("CRASH_AT")
                replay_id = await conn.fetchval("SELECT id::text FROM replays")
                assert (await porteiro("dead-letters", "resume", replay_id))[0] == 0
                await eventually(lambda: _age_until_settled(conn))
                assert await conn.fetchval("SELECT done FROM replays") == 1
            assert alive.returncode is None
    posted = [
        Posted(body, one.attempts, int(one.status == 200))
        for body, one in zip(BODIES, sent, strict=True)
    ]
    ledger = await check(posted, conn, await _drained(heard))
    assert ledger.is_sound, ledger.remarks
    assert (ledger.acknowledged, ledger.pending, ledger.dead) == (len(BODIES), 0, UNTELLABLE)
    assert await conn.fetchval("SELECT count(*) FROM dead_letters WHERE kind = 'envelope'") == 1


async def _all_over(sent: Sequence[Sent]) -> bool:
    return all(one.is_over for one in sent)


async def _age_until_ended(conn: Conn, first: asyncio.subprocess.Process) -> bool:
    """Its point may come in any of its rounds."""
    await _age(conn, tries=2)
    return first.returncode is not None


async def _age(conn: Conn, *, tries: int) -> None:
    """As if leases, and the delays of what was tried less than `tries` times, were over."""
    await conn.execute("UPDATE webhook_log SET lease_until = now() WHERE lease_until > now()")
    await conn.execute("UPDATE events SET due_at = now() WHERE published_at IS NULL")
    await conn.execute(
        "UPDATE webhook_changes SET lease_until = now(), next_attempt_at = now()"
        " WHERE state IN ('pending', 'failed') AND attempts < $1",
        tries,
    )


async def _age_until_settled(conn: Conn) -> bool:
    await _age(conn, tries=4)
    return bool(
        await conn.fetchval(
            """
            SELECT NOT EXISTS (SELECT FROM webhook_log WHERE state = 'unsplit')
                AND NOT EXISTS (SELECT FROM webhook_changes WHERE state IN ('pending', 'failed'))
                AND NOT EXISTS (SELECT FROM events WHERE published_at IS NULL)
                AND EXISTS (SELECT FROM dead_letters WHERE kind = 'envelope')
                AND (SELECT count(DISTINCT digest) FROM webhook_log) = $1
            """,
            len(BODIES),
        )
    )


async def _fingerprint(conn: Conn) -> str:
    return str(await conn.fetchval("SELECT fingerprint FROM dead_letters WHERE kind = 'change'"))


async def _drained(queue: AbstractQueue) -> list[bytes]:
    told = []
    while (event := await queue.get(fail=False)) is not None:
        await event.ack()
        told.append(event.body)
    return told
