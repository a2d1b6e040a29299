"""A row that no key opens fails alone and stops no process."""

from shared.crypto import KeyRing
from shared.store import events
from shared.store.connections import organizations
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn, Pool, transaction
from tests.support import running
from tests.support.broker import Broker
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row
from tests.support.waiting import eventually

LOST_KEY = KeyRing([b"\x17" * 32])


async def test_an_unsplit_webhook_fails_and_the_next_is_split(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    lost, sound = make_webhook(), make_webhook()
    await webhooks.insert(conn, LOST_KEY, [make_webhook_row(lost)])
    await webhooks.insert(conn, ring, [make_webhook_row(sound)])
    async with running.processor(environment):
        await eventually(lambda: conn.fetchval("SELECT 1 FROM webhook_log WHERE processed"))
        error = await eventually(
            lambda: conn.fetchval("SELECT last_error FROM webhook_log WHERE id = $1", lost.id)
        )
    assert error == "undecryptable"


async def test_a_change_fails_again_when_it_is_retried(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, LOST_KEY, [make_webhook_row(webhook, state="split")])
    [new] = await changes.insert(conn, LOST_KEY, changes_of(webhook, make_change(1)))
    await conn.execute("UPDATE webhook_changes SET attempts = 3, next_attempt_at = now()")
    await conn.execute("UPDATE webhook_changes SET state = 'failed' WHERE id = $1", new.id)
    async with running.processor(environment):
        [letter] = await eventually(lambda: conn.fetch("SELECT * FROM dead_letters"))
    assert (letter["subject_id"], letter["attempts"]) == (new.id, 4)
    assert letter["error"] == "undecryptable"


async def test_a_change_whose_last_attempt_never_ended_is_dead(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    await changes.insert(conn, ring, changes_of(webhook, make_change(1)))
    await conn.execute(
        "UPDATE webhook_changes SET state = 'failed', attempts = 4, next_attempt_at = now(),"
        " lease_until = now() - interval '1 s'"
    )
    async with running.processor(environment):
        [letter] = await eventually(lambda: conn.fetch("SELECT * FROM dead_letters"))
    assert (letter["kind"], letter["blame"], letter["attempts"]) == ("change", "poison", 4)
    assert await conn.fetchval("SELECT state FROM webhook_changes") == "dead"


async def test_an_event_is_put_off_and_the_others_are_published(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    ids = []
    await organizations.add(conn, "bakery")
    for number, key in enumerate((LOST_KEY, ring)):
        webhook = make_webhook()
        await webhooks.insert(conn, key, [make_webhook_row(webhook, state="split")])
        [new] = await changes.insert(conn, key, changes_of(webhook, make_change(number)))
        ids.append(new.id)
    await conn.execute("UPDATE webhook_changes SET organization_id = 'bakery'")
    await events.add_for_changes(conn, ids)
    lost, sound = ids
    async with running.processor(environment):
        await eventually(
            lambda: conn.fetchval("SELECT published_at FROM events WHERE id = $1", sound)
        )
    row = await conn.fetchrow(
        "SELECT published_at, due_at > now() + interval '9 min' FROM events WHERE id = $1", lost
    )
    assert row is not None
    assert tuple(row) == (None, True)


async def test_a_lease_of_events_is_limited_by_bytes_too(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    webhook = make_webhook()
    await organizations.add(conn, "bakery")
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    large = b'"' + b"x" * 2_500_000 + b'"'
    rows = changes_of(webhook, *(make_change(number, content=large) for number in range(5)))
    new = await changes.insert(conn, ring, rows)
    await conn.execute("UPDATE webhook_changes SET organization_id = 'bakery'")
    await events.add_for_changes(conn, [change.id for change in new])
    counts = []
    for _ in range(4):
        async with transaction(pool) as tx:
            counts.append(len(await events.lease(tx)))
    assert counts == [2, 2, 1, 0]
