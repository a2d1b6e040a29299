"""When connections are checked.

The due time is a column of the connection: a check is leased by moving it.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from shared.store.connections.health import LAST_CHECKED
from shared.store.pool import Conn, affected

#: A leased check is due again after this time, unless it has ended: much longer than one takes.
LEASE = timedelta(minutes=10)
#: A nudge for a connection that was asked about so recently changes nothing.
NUDGED_AGAIN = timedelta(minutes=1)


async def lease(conn: Conn, limit: int) -> list[str]:
    """Lease due checks, the longest due first. Return their WABA ids. Commit at once."""
    records = await conn.fetch(
        """
        WITH due AS (
            SELECT waba_id FROM whatsapp_connections WHERE next_check_at <= now()
            ORDER BY next_check_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        UPDATE whatsapp_connections SET next_check_at = now() + $2
        FROM due WHERE whatsapp_connections.waba_id = due.waba_id
        RETURNING due.waba_id
        """,
        limit,
        LEASE,
    )
    return [record["waba_id"] for record in records]


async def set_due(conn: Conn, waba_id: str, at: datetime | None) -> None:
    """Set when the connection is checked next; None: not before it has a token again."""
    await conn.execute(
        "UPDATE whatsapp_connections SET next_check_at = $2 WHERE waba_id = $1", waba_id, at
    )


async def make_due(conn: Conn, waba_ids: Collection[str]) -> None:
    """Let connections with a token be checked now. Those asked about within NUDGED_AGAIN wait for
    their time."""
    await conn.execute(
        """
        UPDATE whatsapp_connections SET next_check_at = now()
        WHERE waba_id = ANY($1) AND token_at IS NOT NULL
            AND (next_check_at IS NULL OR next_check_at > now())
            AND (token_checked_at IS NULL OR token_checked_at < now() - $2::interval)
        """,
        sorted(waba_ids),
        NUDGED_AGAIN,
    )


async def bring_forward(conn: Conn, waba_id: str) -> None:
    """Let the connections be checked now that would be next, so that a second bad answer about
    `waba_id` is judged beside theirs. Those that are being checked are left out."""
    await conn.execute(
        """
        UPDATE whatsapp_connections SET next_check_at = now() WHERE waba_id = ANY (ARRAY(
            SELECT waba_id FROM whatsapp_connections
            WHERE next_check_at > now() + $2::interval AND waba_id <> $1
                AND token_state IN ('valid', 'expiring') AND token_doubt IS NULL
            ORDER BY next_check_at LIMIT $3 FOR UPDATE SKIP LOCKED))
        """,
        waba_id,
        LEASE,
        LAST_CHECKED - 1,
    )


async def give_due_times(conn: Conn, spread: timedelta) -> int:
    """Give a due time within `spread` to each connection that can be checked and has none. Return
    how many there were."""
    status = await conn.execute(
        """
        UPDATE whatsapp_connections SET next_check_at = now() + random() * $1::interval
        WHERE next_check_at IS NULL AND token_at IS NOT NULL
            AND EXISTS (SELECT FROM connection_eras
                        WHERE connection_eras.waba_id = whatsapp_connections.waba_id
                            AND ended_at IS NULL)
        """,
        spread,
    )
    return affected(status)


async def overdue(conn: Conn, since: timedelta, limit: int) -> dict[str, datetime]:
    """Return connections whose check has been due for longer than `since`, and since when."""
    records = await conn.fetch(
        """
        SELECT waba_id, next_check_at FROM whatsapp_connections
        WHERE next_check_at < now() - $1::interval ORDER BY next_check_at LIMIT $2
        """,
        since,
        limit,
    )
    return {record["waba_id"]: record["next_check_at"] for record in records}


async def count_unworked(conn: Conn, due: Mapping[str, datetime]) -> int:
    """Return how many of these checks nobody has leased since."""
    unworked: int = await conn.fetchval(
        """
        SELECT count(*) FROM whatsapp_connections
            JOIN unnest($1::text[], $2::timestamptz[]) AS due (waba_id, at) USING (waba_id)
        WHERE next_check_at IS NOT DISTINCT FROM due.at
        """,
        list(due),
        list(due.values()),
    )
    return unworked
