"""Whatever is due is found here, and claimed: every try is counted before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from shared.store.pool import Connection

#: How long a claim holds; a claimer that has not finished by then is taken for dead.
LEASE = timedelta(seconds=60)
#: Webhooks that are split together.
MAX_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to one try: the `attempts`-th. It is void once somebody claims the row again."""

    id: UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class Due:
    webhooks: Sequence[Claim] = field(default_factory=list)
    changes: Sequence[Claim] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.webhooks or self.changes)


async def due(connection: Connection, *, overdue: timedelta = timedelta(0)) -> Due:
    """Claim what is due since `overdue` or longer: attempts + 1, a lease; to be committed at once.

    Webhooks nobody tried yet come together, at most MAX_TOGETHER. What was tried before, webhook or
    change, comes alone: whoever tried it may have died of it.
    """
    records = await connection.fetch(
        """
        WITH fresh AS (
            UPDATE webhook_log SET attempts = attempts + 1, lease_until = now() + $1
            WHERE id IN (
                SELECT id FROM webhook_log
                WHERE state = 'unsplit' AND attempts = 0 AND lease_until < now()
                    AND received_at <= now() - $2::interval
                ORDER BY lease_until, id LIMIT $3 FOR UPDATE SKIP LOCKED
            )
            RETURNING id, attempts
        ), tried AS (
            UPDATE webhook_log SET attempts = attempts + 1, lease_until = now() + $1
            WHERE NOT EXISTS (SELECT FROM fresh) AND id IN (
                SELECT id FROM webhook_log
                WHERE state = 'unsplit' AND attempts > 0 AND lease_until < now() - $2::interval
                ORDER BY lease_until, id LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING id, attempts
        ), failed AS (
            UPDATE webhook_changes SET attempts = attempts + 1, lease_until = now() + $1
            WHERE id IN (
                SELECT id FROM webhook_changes
                WHERE state IN ('pending', 'failed') AND lease_until < now()
                    AND next_attempt_at <= now() - $2::interval
                ORDER BY next_attempt_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING id, attempts
        )
        SELECT 'webhook' AS kind, * FROM fresh UNION ALL SELECT 'webhook', * FROM tried
        UNION ALL SELECT 'change', * FROM failed
        """,
        LEASE,
        overdue,
        MAX_TOGETHER,
    )
    return Due(
        *(
            [Claim(r["id"], r["attempts"]) for r in records if r["kind"] == kind]
            for kind in ("webhook", "change")
        )
    )


async def hand_back(connection: Connection, claims: Due) -> None:
    """Undo claims whose tries never came to their end for the servers' sake."""
    for table, state, held in (
        ("webhook_log", "state = 'unsplit'", claims.webhooks),
        ("webhook_changes", "state IN ('pending', 'failed')", claims.changes),
    ):
        await connection.execute(
            f"""
            UPDATE {table} SET attempts = {table}.attempts - 1, lease_until = '-infinity'
            FROM unnest($1::uuid[], $2::smallint[]) AS claim (id, attempts)
            WHERE {table}.id = claim.id AND {table}.attempts = claim.attempts AND {state}
            """,  # noqa: S608 - our own words
            [claim.id for claim in held],
            [claim.attempts for claim in held],
        )


async def exhausted(connection: Connection, *, max_attempts: int) -> Due:
    """Rows that were claimed `max_attempts` times and never finished: each kills whoever tries it.

    Locked until the transaction ends.
    """
    webhooks = await connection.fetch(
        """
        SELECT id, attempts FROM webhook_log
        WHERE state = 'unsplit' AND lease_until < now() AND attempts >= $1
        ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        max_attempts,
        MAX_TOGETHER,
    )
    changes = await connection.fetch(
        """
        SELECT id, attempts FROM webhook_changes
        WHERE state IN ('pending', 'failed') AND next_attempt_at <= now() AND lease_until < now()
            AND attempts >= $1
        ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        max_attempts,
        MAX_TOGETHER,
    )
    return Due(*([Claim(*record) for record in records] for records in (webhooks, changes)))
