"""Lease the rows that are due. Each attempt is counted on its row before it begins."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shared.store.pool import Conn

#: How long a lease is valid. After it, the process that took the lease is presumed dead.
LEASE_TIME = timedelta(seconds=60)
#: How long a released row rests until it can be leased again: twice as long after each other
#: interruption, so that a row that is always interrupted costs the others little.
REST = timedelta(seconds=3)
MAX_REST = timedelta(minutes=10)
#: How many webhooks are split together at most.
MAX_TOGETHER = 100

#: `fresh` webhooks have no attempts and no interruptions yet and are leased together. A `tried`
#: webhook or a change is leased alone: it may have crashed its process or interrupted its group.
IntakeKind = Literal["fresh", "tried", "change"]
INTAKE_KINDS: tuple[IntakeKind, ...] = ("fresh", "tried", "change")
#: Beside them follow-ups.
LeaseKind = IntakeKind | Literal["follow_up"]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to one attempt, number `attempts` of the row. It is void once the row is leased
    again."""

    id: UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class LeasedRows:
    """Rows that were leased together. `lease_until` identifies the lease on each of them."""

    kind: LeaseKind
    leases: Sequence[Lease]
    lease_until: datetime | None = None


#: The states, by table, in which a row is still to be attempted.
OPEN_STATES = {
    "webhook_log": "('unsplit')",
    "webhook_changes": "('pending', 'failed')",
    "follow_ups": "('pending')",
}
_TABLES: dict[LeaseKind, str] = {
    "fresh": "webhook_log",
    "tried": "webhook_log",
    "change": "webhook_changes",
    "follow_up": "follow_ups",
}
_DUE: dict[LeaseKind, str] = {
    "fresh": """
        state = 'unsplit' AND attempts = 0 AND interruptions = 0 AND lease_until < now()
            AND id <> ALL($1)
        ORDER BY lease_until, id
    """,
    "tried": """
        state = 'unsplit' AND (attempts > 0 OR interruptions > 0) AND lease_until < now()
            AND id <> ALL($1)
        ORDER BY lease_until, id
    """,
    "change": """
        state IN ('pending', 'failed') AND lease_until < now()
            AND next_attempt_at <= now() AND id <> ALL($1)
        ORDER BY next_attempt_at, id
    """,
    "follow_up": """
        state = 'pending' AND kind = ANY($2::follow_up_kind[]) AND lease_until < now()
            AND due_at <= now() AND id <> ALL($1)
            AND (  -- of those that call Meta, one follow-up of a subject at a time
                SELECT max(other.lease_until) FROM follow_ups AS other
                WHERE other.subject = follow_ups.subject
                    AND (other.kind = 'attribute') = (follow_ups.kind = 'attribute')
            ) < now()
        ORDER BY due_at, id
    """,
}


async def lease(
    conn: Conn,
    kind: IntakeKind,
    *,
    left_out: Collection[UUID] = (),
    limit: int | None = None,
) -> LeasedRows:
    """Lease due rows of the webhook intake, and add 1 to their attempts. Commit at once.

    A row whose last attempt never finished is leased once more, so that the caller gives it up.
    Rows in `left_out` are not leased, nor more than `limit` rows.
    """
    return await _lease(conn, kind, limit or _MOST[kind], left_out)


async def lease_follow_up(
    conn: Conn, kinds: Collection[str], *, left_out: Collection[UUID] = (), limit: int | None = None
) -> LeasedRows:
    """Lease at most one due follow-up, likewise: of the first of these kinds that has one."""
    # One process at a time, so that each sees the others' leases. All others wait meanwhile.
    await conn.execute(
        "SELECT set_config('statement_timeout', '5s', true),"
        " pg_advisory_xact_lock(hashtext('follow_up claim'))"
    )
    leased = LeasedRows("follow_up", [])
    for kind in kinds:
        leased = await _lease(conn, "follow_up", limit or _MOST["follow_up"], left_out, [kind])
        if leased.leases:
            break
    return leased


async def first_due(conn: Conn, left_out: Collection[UUID], *, kind: IntakeKind) -> UUID | None:
    """Lock and return the row that `lease` with limit 1 would lease."""
    return await _first_due(conn, kind, left_out)


async def first_due_follow_up(
    conn: Conn, left_out: Collection[UUID], *, kinds: Collection[str]
) -> UUID | None:
    """Lock and return the row that `lease_follow_up` would lease."""
    for kind in kinds:
        if (found := await _first_due(conn, "follow_up", left_out, [kind])) is not None:
            return found
    return None


#: How many rows are leased together.
_MOST: dict[LeaseKind, int] = {"fresh": MAX_TOGETHER, "tried": 1, "change": 1, "follow_up": 1}


async def _first_due(
    conn: Conn, kind: LeaseKind, left_out: Collection[UUID], *arguments: object
) -> UUID | None:
    found: UUID | None = await conn.fetchval(
        f"SELECT id FROM {_TABLES[kind]} WHERE {_DUE[kind]} LIMIT 1 FOR UPDATE SKIP LOCKED",
        list(left_out),
        *arguments,
    )
    return found


async def _lease(
    conn: Conn, kind: LeaseKind, limit: int, left_out: Collection[UUID], *arguments: object
) -> LeasedRows:
    records = await conn.fetch(
        f"""
        UPDATE {_TABLES[kind]} SET attempts = attempts + 1,
            lease_until = now() + {LEASE_TIME.total_seconds():.0f} * interval '1 s'
        WHERE id = ANY (ARRAY(  -- evaluated once; with IN, the planner may loop without the limit
            SELECT id FROM {_TABLES[kind]} WHERE {_DUE[kind]} LIMIT {limit}
            FOR UPDATE SKIP LOCKED))
        RETURNING id, attempts, lease_until
        """,
        list(left_out),
        *arguments,
    )
    leases = [Lease(record["id"], record["attempts"]) for record in records]
    return LeasedRows(kind, leases, records[0]["lease_until"] if records else None)


#: How long a row rests, which was interrupted `interruptions` times before.
_RESTING = "least($3::interval * power(2, least(interruptions, 20)), $5::interval)"


async def release(conn: Conn, leased: LeasedRows, *, is_interrupted: bool) -> None:
    """Release the rows whose attempts did not end and which were not leased again.

    Take 1 from their attempts. If they were interrupted, count that. They become due again after
    their rest; webhooks and changes then come behind those that are due before.
    """
    table = _TABLES[leased.kind]
    await conn.execute(
        f"""
        UPDATE {table} SET attempts = greatest(attempts - 1, 0), {_REST_UNTIL[table]},
            interruptions = least(interruptions + $4, 1000)
        WHERE id = ANY($1) AND lease_until = $2 AND state IN {OPEN_STATES[table]}
        """,
        [lease.id for lease in leased.leases],
        leased.lease_until,
        REST,
        int(is_interrupted),
        MAX_REST,
    )


#: A lease of a follow-up holds back all others of its subject, its rest does not.
_REST_UNTIL = {
    "webhook_log": f"lease_until = now() + {_RESTING}",
    "webhook_changes": f"lease_until = now() + {_RESTING}, next_attempt_at = now() + {_RESTING}",
    "follow_ups": f"lease_until = '-infinity', due_at = now() + {_RESTING}",
}
