"""Whatever is due is found here, and claimed: every try is counted before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shared.store.pool import Conn

#: How long a claim holds; a claimer that has not finished by then is taken for dead.
LEASE_TIME = timedelta(seconds=60)
#: How long what was handed back rests: what the servers fail again and again blocks nobody else.
REST = timedelta(seconds=3)
#: Webhooks that are split together.
MAX_TOGETHER = 100

#: Webhooks nobody tried yet, together; a webhook, or a change, that was tried before, alone:
#: whoever tried it may have died of it.
LeaseKind = Literal["fresh", "tried", "change", "follow_up"]
#: What needs nobody but PostgreSQL; follow-ups call Meta.
WEBHOOK_KINDS: tuple[LeaseKind, ...] = ("fresh", "tried", "change")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to one try: the `attempts`-th. It is void once somebody claims the row again."""

    id: UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class LeasedRows:
    """What one claimer took at once; `lease_until` marks the rows as its own."""

    kind: LeaseKind
    leases: Sequence[Lease]
    lease_until: datetime | None = None


_TABLES: dict[LeaseKind, str] = {
    "fresh": "webhook_log",
    "tried": "webhook_log",
    "change": "webhook_changes",
    "follow_up": "follow_ups",
}
#: $2 is how long it must be due.
_DUE: dict[LeaseKind, str] = {
    "fresh": f"""
        state = 'unsplit' AND attempts = 0 AND lease_until < now()
            AND received_at <= now() - $2::interval
        ORDER BY lease_until, id LIMIT {MAX_TOGETHER}
    """,
    "tried": """
        state = 'unsplit' AND attempts > 0 AND lease_until < now() - $2::interval
        ORDER BY lease_until, id LIMIT 1
    """,
    "change": """
        state IN ('pending', 'failed') AND lease_until < now()
            AND next_attempt_at <= now() - $2::interval
        ORDER BY next_attempt_at, id LIMIT 1
    """,
    "follow_up": """
        state = 'pending' AND lease_until < now() AND due_at <= now() - $2::interval
            AND (  -- of one WABA one thing at a time
                SELECT max(other.lease_until) FROM follow_ups AS other
                WHERE other.subject = follow_ups.subject
            ) < now()
        ORDER BY due_at, id LIMIT 1
    """,
}


async def lease(conn: Conn, kind: LeaseKind, *, overdue: timedelta = timedelta(0)) -> LeasedRows:
    """Claim what is due since `overdue` or longer: attempts + 1, a lease; to be committed at once.

    What was claimed for its last try and never finished is claimed once more: to be buried.
    """
    if kind == "follow_up":  # by turns, to see each other's leases: one at a time of each WABA
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('follow_up claim'))")
    records = await conn.fetch(
        f"""
        UPDATE {_TABLES[kind]} SET attempts = attempts + 1, lease_until = now() + $1
        WHERE id = ANY (ARRAY(  -- evaluated once; of IN the planner may make a loop without a limit
            SELECT id FROM {_TABLES[kind]} WHERE {_DUE[kind]} FOR UPDATE SKIP LOCKED))
        RETURNING id, attempts, lease_until
        """,  # noqa: S608 - our own words
        LEASE_TIME,
        overdue,
    )
    leases = [Lease(record["id"], record["attempts"]) for record in records]
    return LeasedRows(kind, leases, records[0]["lease_until"] if records else None)


async def release(conn: Conn, leased: LeasedRows) -> None:
    """Undo those claims whose tries never came to their end, and which nobody claimed since. They
    rest a moment, and are due behind what is due by then."""
    table = _TABLES[leased.kind]
    await conn.execute(
        f"""
        UPDATE {table} SET attempts = greatest(attempts - 1, 0), lease_until = now() + $3
            {_BEHIND.get(table, "")}
        WHERE id = ANY($1) AND lease_until = $2 AND state IN {_OPEN[table]}
        """,  # noqa: S608 - our own words
        [one.id for one in leased.leases],
        leased.lease_until,
        REST,
    )


#: A change is due by another column than its lease.
_BEHIND = {"webhook_changes": ", next_attempt_at = now() + $3"}
_OPEN = {
    "webhook_log": "('unsplit')",
    "webhook_changes": "('pending', 'failed')",
    "follow_ups": "('pending')",
}
