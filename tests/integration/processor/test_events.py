"""The company's backend receives each event at least once, always with the same id."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from shared.broker.topology import EVENTS, RAW
from shared.store import events
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, transaction
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.command_line import porteiro
from tests.support.keys import TOKEN_RING
from tests.support.ownership import prove
from tests.support.proxy import open_proxy
from tests.support.sending import WABA, account_update, message
from tests.support.waiting import eventually

NOW = datetime.now(UTC)


@pytest.fixture
async def proven_owner(pool: Pool) -> None:
    await own(pool)


async def own(pool: Pool) -> None:
    """Record the bakery's proof of the WABA."""
    async with transaction(pool) as conn:
        await organizations.add(conn, "bakery")
        until = NOW + timedelta(hours=1)
        await onboardings.start(conn, TOKEN_RING, NewOnboarding("bakery", "code-1", until))
        at = datetime(2026, 1, 1, tzinfo=UTC)
        assert await prove(conn, "code-1", WABA, None, at)


class Backend:
    """A queue bound to every event."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue

    async def take(self) -> tuple[AbstractIncomingMessage, dict[str, Any]]:
        message = await eventually(lambda: self._queue.get(fail=False))
        await message.ack()
        return message, orjson.loads(message.body)

    async def is_empty(self) -> bool:
        return await self._queue.get(fail=False) is None


@pytest.fixture
async def backend(broker: Broker) -> AsyncIterator[Backend]:
    async with broker.amqp.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "#")
        yield Backend(queue)


async def test_the_owner_receives_transitions_and_every_change(
    proven_owner: None, environment: dict[str, str], broker: Broker, conn: Conn, backend: Backend
) -> None:
    hello = write(message(1))
    async with running.processor(environment):
        connected_message, connected = await backend.take()
        assert (connected["type"], connected["data"]["state"]) == (
            "connection.provisioning", "provisioning",
        )  # fmt: skip
        await broker.put(RAW, bundle(hello))
        change_message, change = await backend.take()
        # A repeated webhook and a fact without effect make no event of a transition.
        await broker.put(RAW, bundle(hello, write(account_update("ACCOUNT_RECONNECTED"))))
        _, other = await backend.take()
        await broker.put(
            RAW, bundle(write(account_update("ACCOUNT_OFFBOARDED", time=1_795_000_000)))
        )
        last_events = [(await backend.take())[1] for _ in range(2)]
        await until_states(conn, split=4)
    assert await backend.is_empty()
    assert change_message.routing_key == change["type"] == "change.messages"
    assert change_message.message_id == change["id"]
    assert (change_message.type, change_message.app_id) == ("change.messages", "porteiro")
    occurred_at = datetime.fromisoformat(change["occurred_at"])
    assert change_message.timestamp == occurred_at.replace(microsecond=0)
    assert (change["organization_id"], change["waba_id"]) == ("bakery", WABA)
    assert change["data"]["value"]["messages"][0]["text"] == {"body": "oi"}
    assert change["revision"] is None
    assert connected["revision"] == 2
    assert connected["webhook_id"] is None
    assert other["type"] == "change.account_update"
    assert {event["type"] for event in last_events} == {
        "connection.offboarded",
        "change.account_update",
    }
    assert connected_message.message_id == connected["id"]


async def test_an_onboardings_event_names_it_and_only_the_stored_row_lacks_its_code(
    environment: dict[str, str], conn: Conn, pool: Pool, backend: Backend
) -> None:
    async with transaction(pool) as tx:
        await organizations.add(tx, "bakery")
        until = NOW + timedelta(hours=1)
        new = NewOnboarding("bakery", "code-1", until)
        onboarding = await onboardings.start(tx, TOKEN_RING, new)
        assert onboarding is not None
        await events.add_for_onboarding(
            tx, "refused", onboarding, waba_id=WABA, reason="waba_not_granted"
        )
    stored = await conn.fetchval("SELECT data::text FROM events")
    async with running.processor(environment):
        _, refused = await backend.take()
    assert "code-1" not in stored
    assert (refused["type"], refused["waba_id"]) == ("onboarding.refused", WABA)
    assert refused["data"] == {
        "onboarding_id": str(onboarding.id),
        "tracking_code": "code-1",
        "reason": "waba_not_granted",
    }


async def test_an_unrouted_event_is_marked_and_can_be_replayed(
    proven_owner: None,
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
) -> None:
    async with running.processor(environment):
        await broker.put(RAW, bundle(write(message(1))))
        await eventually(lambda: conn.fetchval("SELECT count(*) = 2 FROM events WHERE is_unrouted"))
        async with broker.amqp.channel() as channel:
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(EVENTS, "change.*")
            code, log = await porteiro(
                "events", "replay", "--since", "2026-01-01T00:00:00", "--unrouted", "--rate", "2"
            )
            assert code == 0
            assert '"count":2,"seconds":1' in log
            _, replayed = await Backend(queue).take()
    assert replayed["type"] == "change.messages"
    assert str(await conn.fetchval("SELECT id FROM webhook_changes")) == replayed["id"]
    unrouted = await conn.fetch("SELECT type FROM events WHERE is_unrouted")
    assert [row["type"] for row in unrouted] == ["connection.provisioning"]


async def test_changes_from_before_the_proof_are_published_after_it(
    environment: dict[str, str], broker: Broker, conn: Conn, pool: Pool, backend: Backend
) -> None:
    async with running.processor(environment):
        await broker.put(RAW, bundle(*(write(message(n)) for n in range(10))))
        await until_states(conn, split=10)
        assert await backend.is_empty()
        async with transaction(pool) as tx:
            await organizations.add(tx, "bakery")
            until = NOW + timedelta(hours=1)
            await onboardings.start(tx, TOKEN_RING, NewOnboarding("bakery", "code-1", until))
            assert await prove(tx, "code-1", WABA, None, NOW)
        types = [(await backend.take())[1]["type"] for _ in range(11)]
    assert sorted(types) == [*["change.messages"] * 10, "connection.provisioning"]


@pytest.mark.parametrize("is_owned", [True, False])
async def test_contacts_of_nobody_are_kept_and_told_to_nobody(
    environment: dict[str, str], broker: Broker, conn: Conn, pool: Pool, is_owned: bool
) -> None:
    body = message(1)
    value = body["entry"][0]["changes"][0]["value"]
    value["messages"].append(value["messages"][0] | {"id": "wamid.2"})
    value["contacts"] = [{"wa_id": "15550004445"}]
    async with running.processor(environment):
        if is_owned:
            await own(pool)
        await broker.put(RAW, bundle(write(body)))
        await until_states(conn, split=1)
        if not is_owned:
            await own(pool)
        owned = "SELECT count(*) = 3 FROM webhook_changes WHERE organization_id = 'bakery'"
        await eventually(lambda: conn.fetchval(owned))
    kept = "SELECT content IS NOT NULL FROM webhook_changes WHERE event = 'unmatched_contacts'"
    assert await conn.fetchval(kept)
    told = await conn.fetch("SELECT type FROM events ORDER BY type")
    assert [row["type"] for row in told] == [*["change.messages"] * 2, "connection.provisioning"]


async def test_events_wait_for_the_broker(
    proven_owner: None,
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
    backend: Backend,
    monkeypatch: MonkeyPatch,
) -> None:
    async with open_proxy(broker.url) as proxy:
        await proxy.cut()
        monkeypatch.setenv("RABBITMQ_URL", proxy.url)
        async with running.processor(environment):
            await asyncio.sleep(0)
            assert (
                await conn.fetchval("SELECT count(*) FROM events WHERE published_at IS NULL") == 1
            )
            await proxy.heal()
            _, event = await backend.take()
    assert event["type"] == "connection.provisioning"


async def test_an_event_that_the_broker_refuses_is_published_later(
    proven_owner: None, environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with broker.amqp.channel() as channel:
        queue = await channel.declare_queue(exclusive=True, arguments=full)
        await queue.bind(EVENTS, "#")
        await channel.default_exchange.publish(Message(b"it is full"), queue.name)
        async with running.processor(environment):
            refused = "SELECT count(*) = 1 FROM events WHERE due_at > now() + interval '1 s'"
            await eventually(lambda: conn.fetchval(refused))
            unpublished = "SELECT count(*) FROM events WHERE published_at IS NULL"
            assert await conn.fetchval(unpublished) == 1
            await queue.purge()
            _, event = await Backend(queue).take()
    assert event["type"] == "connection.provisioning"


async def test_two_processes_lease_no_event_twice_and_do_not_wait(
    proven_owner: None, pool: Pool
) -> None:
    async with transaction(pool) as first, transaction(pool) as second:
        assert len(await events.lease(first)) == 1
        async with asyncio.timeout(5):
            assert await events.lease(second) == []
            assert await events.first_due(second, []) is None
    async with transaction(pool) as third:
        assert await events.lease(third) == [], "it is leased"
