"""The checker finds each kind of damage to a sound run, and finds nothing else."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from deploy.local.chaos import owners
from deploy.local.oracle import bodies, event_queue, stored
from deploy.local.oracle.bodies import (
    BANNED,
    FORMER,
    OFFBOARDED,
    RECONNECTED,
    REINSTATED,
    RESTRICTED,
    TAKEN_OVER,
    Bodies,
    broken,
    webhook,
)
from deploy.local.oracle.checker import check
from deploy.local.oracle.event_queue import Told
from deploy.local.oracle.expected import Posted
from deploy.local.oracle.ledger import FINDINGS, Ledger
from shared.store.pool import Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.damages import DAMAGES
from tests.support.damaging import BATCHED, NOBODYS, OWNED, Damage
from tests.support.environment import BODY_KEY
from tests.support.sending import post
from tests.support.waiting import eventually

CONNECTIONS = bodies.connections()


@dataclass(frozen=True)
class Run:
    """A run that is over."""

    conn: Conn
    posted: Sequence[Posted]
    told: Sequence[Told]

    async def damaged(self, damage: Damage) -> Ledger:
        """Return the ledger of this run with a damage. Undo the damage."""
        transaction = self.conn.transaction()
        await transaction.start()
        try:
            if callable(damage.rows):
                await damage.rows(self.conn)
            elif damage.rows:
                await self.conn.execute(damage.rows)
            found = await stored.read(self.conn, BODY_KEY)
        finally:
            await transaction.rollback()
        told, posted = damage.told(self.told), damage.posted(self.posted)
        return check(posted, CONNECTIONS.values(), found, told)


def webhooks() -> list[Posted]:
    """Return one webhook of each kind. The first is an organization's message; one is sent twice;
    one repeats a message."""
    made = Bodies(CONNECTIONS, random.Random(3))
    repeated = made.message(OWNED, 2)
    once = [
        webhook(made.message(OWNED, 1)),
        webhook(repeated),
        webhook(repeated, made.unknown_field(NOBODYS, 3)),
        webhook(made.message(NOBODYS, 4)),
        webhook(made.message(FORMER, 5)),
        webhook(made.message(TAKEN_OVER, 6)),
        webhook(made.conversation(BATCHED, 7)),
        webhook(made.conversation(OWNED, 8)),
        *(
            webhook(made.account_update(OWNED, 9 + second, update, second))
            for second, update in enumerate((OFFBOARDED, RESTRICTED, RECONNECTED, BANNED))
        ),
        webhook(made.account_update(FORMER, 15, BANNED, 1)),
        webhook(made.account_update(FORMER, 16, OFFBOARDED, 3)),
        webhook(made.account_update(FORMER, 17, REINSTATED, 2)),
        webhook(made.account_update(NOBODYS, 18, RECONNECTED, 1)),
        webhook(made.quality(BATCHED, 19)),
        webhook(made.share_of_no_waba(20)),
        broken(21),
    ]
    return [*(Posted(one, 1, 1) for one in once), Posted(webhook(made.message(OWNED, 22)), 2, 2)]


@pytest.fixture
async def run(
    environment: dict[str, str], broker: Broker, conn: Conn, database_url: str
) -> AsyncIterator[Run]:
    await event_queue.declare(broker.url)
    await owners.prepare(database_url, CONNECTIONS.values())
    posted = webhooks()
    async with running.ingress(environment) as client, running.processor(environment):
        for entry in posted:
            for _ in range(entry.posts):
                assert await post(client, entry.webhook.body) == 200
        await eventually(lambda: _is_over(conn, sum(entry.posts for entry in posted)))
    yield Run(conn, posted, await event_queue.drain(broker.url))
    async with broker.amqp.channel() as channel:
        await channel.queue_delete(event_queue.QUEUE)


async def _is_over(conn: Conn, count: int) -> bool:
    return bool(
        await conn.fetchval(
            """
            SELECT (SELECT count(*) FROM webhook_log WHERE state <> 'unsplit') = $1
                AND NOT EXISTS (SELECT FROM events WHERE published_at IS NULL)
                AND NOT EXISTS (
                    SELECT FROM follow_ups WHERE kind = 'attribute' AND state <> 'done'
                )
            """,
            count,
        )
    )


async def test_each_damage_is_found_and_nothing_else(run: Run) -> None:
    posts = sum(entry.posts for entry in run.posted)
    sent = {change.content for entry in run.posted for change in entry.webhook.changes}
    sound = await run.damaged(Damage(""))
    assert (sound.attempted, sound.acknowledged, sound.redelivered) == (posts, posts, 0)
    assert (sound.processed, sound.dead) == (len(sent) - 1, 2)

    found = {name: set((await run.damaged(damage)).findings) for name, damage in DAMAGES.items()}

    assert found == {name: damage.expected for name, damage in DAMAGES.items()}


def test_each_finding_has_a_damage() -> None:
    assert set.union(*(damage.expected for damage in DAMAGES.values())) == FINDINGS.keys()
