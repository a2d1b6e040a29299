"""The ledger finds each kind of damage to a sound run and counts it under the right word."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from deploy.local.chaos.checker import Posted, check
from deploy.local.simulated_meta.writing import write
from shared.actions import ownership
from shared.broker.topology import EVENTS
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.sending import WABA, account_update, message, post
from tests.support.waiting import eventually

Events = list[bytes]
BODIES = [
    *(write(message(n)) for n in range(3)),
    write(account_update("ACCOUNT_OFFBOARDED", time=1_795_000_000)),
]
#: One event per body, and two of the connection: owned, then offboarded.
EVENT_COUNT = len(BODIES) + 2
OF_CONNECTION, OF_MESSAGE = b'"type":"connection.', b'"type":"change.messages"'


def without(part: bytes) -> Callable[[Events], Events]:
    return lambda events: [event for event in events if part not in event]


def again(part: bytes, **changed: object) -> Callable[[Events], Events]:
    """Repeat the last of these events with changed fields."""

    def damage(events: Events) -> Events:
        last = orjson.loads([event for event in events if part in event][-1])
        return [*events, orjson.dumps(last | changed)]

    return damage


#: The damage to the rows or to the received events, and the ledger's word for it.
DAMAGES: dict[str, tuple[str, str | Callable[[Events], Events]]] = {
    "a webhook is gone": (
        "lost", "DELETE FROM webhook_log WHERE id::text = (SELECT min(id::text) FROM webhook_log)",
    ),
    "a change is gone": ("lost", "DELETE FROM webhook_changes WHERE field = 'messages'"),
    "a webhook that was not sent": (
        "unexpected", "UPDATE webhook_log SET digest = digest || 'x'::bytea",
    ),
    "a fact that no webhook has": (
        "unexpected", "UPDATE connection_facts SET value = 'linked' WHERE name = 'phone_link'",
    ),
    "a state against its facts": ("unexpected", "UPDATE whatsapp_connections SET state = 'active'"),
    "a wrong count": ("unexpected", "UPDATE webhook_log SET processed = false, changes_left = 7"),
    "an event's row is gone": ("unexpected", "DELETE FROM events WHERE type = 'change.messages'"),
    "a change without its event": ("lost", without(OF_MESSAGE)),
    "a connection without its event": ("lost", without(OF_CONNECTION)),
    "a change under two ids": ("doubled", again(OF_MESSAGE, id="another")),
    "a transition under two revisions": ("doubled", again(OF_CONNECTION, revision=99)),
}  # fmt: skip


async def test_each_damage_is_found(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    events: Events = []
    async with broker.amqp.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "#")
        await _add_owner(conn)
        async with running.ingress(environment) as client, running.processor(environment):
            assert [await post(client, body) for body in BODIES] == [200] * len(BODIES)

            async def all_received() -> bool:
                if (event := await queue.get(fail=False)) is not None:
                    await event.ack()
                    events.append(event.body)
                return len(events) == EVENT_COUNT

            await eventually(all_received)
    posted = [Posted(body, 1, 1) for body in BODIES]
    sound = await check(posted, conn, events)
    assert sound.is_sound, sound.remarks
    counts: dict[str, int] = {}
    for name, (word, damage) in DAMAGES.items():
        tx = conn.transaction()
        await tx.start()
        if isinstance(damage, str):
            await conn.execute(damage)
        received = events if isinstance(damage, str) else damage(events)
        counts[name] = getattr(await check(posted, conn, received), word)
        await tx.rollback()
    assert [name for name, count in counts.items() if not count] == []


async def _add_owner(conn: Conn) -> None:
    await organizations.add(conn, "bakery")
    until = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, NewOnboarding("bakery", "code-1", until))
    async with conn.transaction():
        await ownership.record_proof(
            conn,
            await connections.ensure_locked(conn, WABA),
            "code-1",
            None,
            datetime(2026, 1, 1, tzinfo=UTC),
        )
