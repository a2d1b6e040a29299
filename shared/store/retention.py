"""What goes by its age, in batches. Nothing that is not settled goes, whatever its age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Record

from shared.store.connections.eras import is_owed
from shared.store.pool import Conn, affected

#: Rows looked at in one batch.
MAX_BATCH = 1000
#: Changes that go in one batch with their webhooks. The last webhook may exceed it, by the 5,000
#: that one has at most.
MAX_CHANGES = 5000


class Position(NamedTuple):
    """The last row that a batch looked at."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch has done, by kind, and where the next one begins; None: there is no next one."""

    counts: Mapping[str, int]
    reached: Position | None


async def delete_events(conn: Conn, before: datetime, after: Position | None) -> Batch:
    """Delete published events, and the content of their changes. An event that was published later
    than `before` stays: it can be replayed."""
    looked_at = await conn.fetch(
        f"""
        SELECT id, created_at AS at FROM events
        WHERE created_at < $1 AND (created_at, id) > (coalesce($2::timestamptz, '-infinity'), $3)
        ORDER BY created_at, id LIMIT {MAX_BATCH}
        """,
        before,
        *_from(after),
    )
    if not looked_at:
        return Batch({}, None)
    deleted = await conn.fetch(
        "DELETE FROM events WHERE id = ANY($1) AND published_at < $2 RETURNING id, is_unrouted",
        [record["id"] for record in looked_at],
        before,
    )
    emptied = await conn.execute(
        "UPDATE webhook_changes SET content = NULL WHERE id = ANY($1) AND content IS NOT NULL",
        [record["id"] for record in deleted],
    )
    return Batch(
        {
            "events": len(deleted),
            "unrouted_events": sum(record["is_unrouted"] for record in deleted),
            "contents": affected(emptied),
        },
        Position(looked_at[-1]["at"], looked_at[-1]["id"]),
    )


async def count_events(conn: Conn, before: datetime) -> Mapping[str, int]:
    """Return what `delete_events` would delete."""
    record = await conn.fetchrow(
        """
        SELECT count(*) AS events, count(*) FILTER (WHERE is_unrouted) AS unrouted_events,
               count(content) AS contents
        FROM events LEFT JOIN webhook_changes USING (id)
        WHERE created_at < $1 AND published_at < $1
        """,
        before,
    )
    return dict(record) if record else {}


#: The content of such a change is kept for an owner that may still come.
_WAITS_FOR_OWNER = "state = 'processed' AND organization_id IS NULL AND content IS NOT NULL"

#: A row of webhook_log whose work is done, and of whose changes each is delivered, has no event any
#: more, and waits for nobody.
_IS_SETTLED = f"""
    processed AND NOT EXISTS (
        SELECT FROM dead_letters WHERE webhook_id = webhook_log.id AND closed_at IS NULL
    ) AND NOT EXISTS (
        SELECT FROM webhook_changes AS change WHERE webhook_id = webhook_log.id AND (
            state NOT IN ('processed', 'discarded') OR {_WAITS_FOR_OWNER}
            OR EXISTS (SELECT FROM events WHERE events.id = change.id)
        )
    )
"""


async def delete_webhooks(
    conn: Conn, before: datetime, orphans_before: datetime, after: Position | None
) -> Batch:
    """Delete settled webhooks received before `before`, with their changes and keys. Before that,
    empty the changes of `orphans_before` that nobody has owned since. Skip what is locked."""
    looked_at = await _next_webhooks(conn, max(before, orphans_before), after)
    if not looked_at:
        return Batch({}, None)
    emptied = await conn.execute(
        f"""
        UPDATE webhook_changes SET content = NULL WHERE id = ANY (ARRAY(
            SELECT id FROM webhook_changes
            WHERE webhook_id = ANY($1) AND {_WAITS_FOR_OWNER} AND NOT {is_owed("webhook_changes")}
            FOR UPDATE SKIP LOCKED
        ))
        """,
        [record["id"] for record in looked_at if record["received_at"] < orphans_before],
    )
    deleted = await conn.execute(
        f"""
        DELETE FROM webhook_log WHERE id = ANY (ARRAY(
            SELECT id FROM webhook_log WHERE id = ANY($1) AND {_IS_SETTLED} FOR UPDATE SKIP LOCKED
        ))
        """,
        [record["id"] for record in looked_at if record["received_at"] < before],
    )
    return Batch(
        {"orphan_contents": affected(emptied), "webhooks": affected(deleted)},
        Position(looked_at[-1]["received_at"], looked_at[-1]["id"]),
    )


async def _next_webhooks(conn: Conn, before: datetime, after: Position | None) -> Sequence[Record]:
    # Limits are written out: not knowing them, the planner would read the whole table.
    return await conn.fetch(
        f"""
        SELECT id, received_at FROM (
            SELECT id, received_at, sum(changes) OVER (
                ORDER BY received_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS changes_before
            FROM (
                SELECT id, received_at FROM webhook_log
                WHERE received_at < $1
                    AND (received_at, id) > (coalesce($2::timestamptz, '-infinity'), $3)
                ORDER BY received_at, id LIMIT {MAX_BATCH}
            ) AS oldest CROSS JOIN LATERAL (
                SELECT count(*) AS changes FROM webhook_changes WHERE webhook_id = oldest.id
            ) AS counted
        ) AS sized WHERE coalesce(changes_before, 0) < {MAX_CHANGES} ORDER BY received_at, id
        """,
        before,
        *_from(after),
    )


async def count_webhooks(
    conn: Conn, before: datetime, orphans_before: datetime
) -> Mapping[str, int]:
    """Return what `delete_webhooks` would delete; webhooks only, if they are settled already."""
    webhooks = await conn.fetchval(
        f"SELECT count(*) FROM webhook_log WHERE received_at < $1 AND {_IS_SETTLED}", before
    )
    orphan_contents = await conn.fetchval(
        f"""
        SELECT count(*) FROM webhook_changes
        WHERE received_at < $1 AND {_WAITS_FOR_OWNER} AND NOT {is_owed("webhook_changes")}
        """,
        orphans_before,
    )
    return {"webhooks": webhooks, "orphan_contents": orphan_contents}


@dataclass(frozen=True, slots=True)
class AgedRows:
    """Rows that go once they meet `condition`, in which $1 is the time they must be older than."""

    name: str
    table: str
    condition: str


CLOSED_LETTERS = AgedRows("closed_letters", "dead_letters", "closed_at < $1")
FINISHED_REPLAYS = AgedRows(
    "replays",
    "replays",
    "finished_at < $1 AND NOT EXISTS (SELECT FROM dead_letters WHERE replay_id = replays.id)",
)
#: While a WABA is owned, it stays known what was provisioned: some steps Meta accepts only once.
DONE_FOLLOW_UPS = AgedRows(
    "follow_ups",
    "follow_ups",
    """
    state = 'done' AND ended_at < $1 AND NOT (
        kind = 'provision' AND EXISTS (
            SELECT FROM connection_eras WHERE waba_id = subject AND connection_eras.ended_at IS NULL
        )
    )
    """,
)
JOB_RUNS = AgedRows("job_runs", "job_runs", "started_at < $1 AND outcome IS NOT NULL")
FAILED_CALLS = AgedRows("failed_calls", "failed_calls", "at < $1")
AUDIT_RECORDS = AgedRows("audit_records", "audit_log", "at < $1")
#: Whichever came first made the key useless.
USELESS_KEYS = AgedRows("api_keys", "api_keys", "least(revoked_at, expires_at) < $1")


async def delete_aged(conn: Conn, rows: AgedRows, before: datetime) -> Batch:
    deleted = await conn.fetch(
        f"""
        DELETE FROM {rows.table} WHERE id = ANY (ARRAY(
            SELECT id FROM {rows.table} WHERE {rows.condition} LIMIT {MAX_BATCH}
        )) RETURNING id
        """,
        before,
    )
    more = Position(before, deleted[-1]["id"]) if len(deleted) == MAX_BATCH else None
    return Batch({rows.name: len(deleted)}, more)


async def count_aged(conn: Conn, rows: AgedRows, before: datetime) -> Mapping[str, int]:
    """Return how many rows `delete_aged` would delete."""
    query = f"SELECT count(*) FROM {rows.table} WHERE {rows.condition}"
    return {rows.name: await conn.fetchval(query, before)}


def _from(after: Position | None) -> Sequence[object]:
    return (None, UUID(int=0)) if after is None else after
