"""The ledger can fail: each kind of damage done to a sound run is found, under its word."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from deploy.local.chaos.checker import Posted, check
from deploy.local.simulated_meta.writing import write
from shared.actions import connection_state
from shared.broker.topology import EVENTS
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.sending import WABA, account_update, message, post
from tests.support.waiting import eventually

Told = list[bytes]
BODIES = [
    *(write(message(n)) for n in range(3)),
    write(account_update("ACCOUNT_OFFBOARDED", time=1_795_000_000)),
]
#: Of the bodies, and the two of the connection: owned, then offboarded.
EVENT_COUNT = len(BODIES) + 2
OF_CONNECTION, OF_MESSAGE = b'"type":"connection.', b'"type":"change.messages"'


def without(what: bytes) -> Callable[[Told], Told]:
    return lambda told: [event for event in told if what not in event]


def again(what: bytes, **changed: object) -> Callable[[Told], Told]:
    """The last of these events once more, with something else in it."""

    def damage(told: Told) -> Told:
        last = orjson.loads([event for event in told if what in event][-1])
        return [*told, orjson.dumps(last | changed)]

    return damage


#: What is done to the rows, or to the events that were heard, and the word for it.
DAMAGES: dict[str, tuple[str, str | Callable[[Told], Told]]] = {
    "a webhook is gone": (
        "lost", "DELETE FROM webhook_log WHERE id::text = (SELECT min(id::text) FROM webhook_log)",
    ),
    "a change is gone": ("lost", "DELETE FROM webhook_changes WHERE field = 'messages'"),
    "a webhook nobody sent": ("unexpected", "UPDATE webhook_log SET digest = digest || 'x'::bytea"),
    "a fact nobody told": (
        "unexpected", "UPDATE connection_facts SET value = 'linked' WHERE name = 'phone_link'",
    ),
    "a state against its facts": ("unexpected", "UPDATE whatsapp_connections SET state = 'active'"),
    "a wrong count": ("unexpected", "UPDATE webhook_log SET processed = false, changes_left = 7"),
    "an event's row is gone": ("unexpected", "DELETE FROM events WHERE type = 'change.messages'"),
    "a change is not told": ("lost", without(OF_MESSAGE)),
    "a connection is not told": ("lost", without(OF_CONNECTION)),
    "a change under two ids": ("doubled", again(OF_MESSAGE, id="another")),
    "a transition under two revisions": ("doubled", again(OF_CONNECTION, revision=99)),
}  # fmt: skip


async def test_each_damage_is_found(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    told: Told = []
    async with broker.connection.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "#")
        await _own(conn)
        async with running.ingress(environment) as client, running.processor(environment):
            assert [await post(client, body) for body in BODIES] == [200] * len(BODIES)

            async def all_told() -> bool:
                if (event := await queue.get(fail=False)) is not None:
                    await event.ack()
                    told.append(event.body)
                return len(told) == EVENT_COUNT

            await eventually(all_told)
    posted = [Posted(body, 1, 1) for body in BODIES]
    sound = await check(posted, conn, told)
    assert sound.is_sound, sound.remarks
    found: dict[str, int] = {}
    for name, (word, damage) in DAMAGES.items():
        undone = conn.transaction()
        await undone.start()
        if isinstance(damage, str):
            await conn.execute(damage)
        heard = told if isinstance(damage, str) else damage(told)
        found[name] = getattr(await check(posted, conn, heard), word)
        await undone.rollback()
    assert [name for name, count in found.items() if not count] == []


async def _own(conn: Conn) -> None:
    await organizations.add(conn, "bakery")
    until = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, NewOnboarding("bakery", "code-1", until))
    async with conn.transaction():
        await connection_state.record_proof(
            conn, "code-1", WABA, None, datetime(2026, 1, 1, tzinfo=UTC)
        )
