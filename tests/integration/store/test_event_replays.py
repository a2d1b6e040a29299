"""A replay makes the chosen events due again, some at a time, as its rate allows."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from shared.store import events
from shared.store.connections import organizations
from shared.store.events import EventReplay
from shared.store.pool import Conn

START = datetime(2026, 11, 1, tzinfo=UTC)
FIRST = UUID(int=0)


def event_id(number: int) -> UUID:
    return UUID(int=number)


@pytest.fixture
async def published(conn: Conn) -> None:
    """Store events 1 to 6, one a minute. The second and the fourth were unrouted; the last is not
    published."""
    await organizations.add(conn, "bakery")
    await conn.execute(
        """
        INSERT INTO events
            (id, type, organization_id, waba_id, revision, data, created_at, due_at, published_at,
             is_unrouted)
        SELECT id, 'connection.active', 'bakery', '71', row_number() OVER (), '{}', created_at,
               created_at,
               CASE WHEN id <> $3 THEN now() END, id = ANY($4)
        FROM unnest($1::uuid[], $2::timestamptz[]) AS row (id, created_at)
        """,
        [event_id(number) for number in range(1, 7)],
        [START + timedelta(minutes=number) for number in range(1, 7)],
        event_id(6),
        [event_id(2), event_id(4)],
    )


async def test_events_of_the_time_span_become_due_as_the_rate_allows(
    published: None, conn: Conn
) -> None:
    span = EventReplay(
        START + timedelta(minutes=2), START + timedelta(minutes=5), only_unrouted=False, rate=2
    )
    async with conn.transaction():
        assert await events.replay(conn, span, done=0, after=FIRST, limit=2) == [
            event_id(2),
            event_id(3),
        ]
        rest = await events.replay(conn, span, done=2, after=event_id(3), limit=2)
        assert rest == [event_id(4)]
        waits = await conn.fetch(
            """
            SELECT id, extract(epoch FROM due_at - now())::float AS seconds
            FROM events WHERE published_at IS NULL AND id <> $1 ORDER BY id
            """,
            event_id(6),
        )
    assert [(row["id"], row["seconds"]) for row in waits] == [
        (event_id(2), 0.5),
        (event_id(3), 1.0),
        (event_id(4), 1.5),
    ]


async def test_only_unrouted_events_are_replayed_if_asked(published: None, conn: Conn) -> None:
    span = EventReplay(START, START + timedelta(hours=1), only_unrouted=True, rate=1)
    async with conn.transaction():
        replayed = await events.replay(conn, span, done=0, after=FIRST, limit=10)
    assert replayed == [event_id(2), event_id(4)]
