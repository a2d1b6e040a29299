"""Follow-ups: what is to be done about a connection. They are leased and attempted like changes.

A subject has at most one open follow-up of each kind.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.domain.provisioning import AWAITING_WEBHOOK
from shared.domain.remedies import Reason
from shared.store import due
from shared.store.pool import Conn

FollowUpKind = Literal["prove", "provision", "read", "disconnect", "attribute"]
FOLLOW_UP_KINDS: tuple[FollowUpKind, ...] = get_args(FollowUpKind)
AT_ONCE = timedelta(0)


class LeaseLost(Exception):
    """The lease has lapsed or the follow-up was ended. The caller must do nothing more for it."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A leased follow-up. Each transaction that works on it calls `fence`."""

    id: UUID
    kind: FollowUpKind
    subject: str
    attempts: int
    lease_until: datetime
    asked_at: datetime


async def add(
    conn: Conn, kind: FollowUpKind, subjects: Collection[str], *, after: timedelta = AT_ONCE
) -> None:
    """Request a follow-up for each subject; again if it is blocked or leased.

    Idempotent while it is open.
    A follow-up that waits for a rate limit of Meta goes on waiting: a call would prolong the limit.
    """
    await conn.execute(
        """
        INSERT INTO follow_ups AS stored (id, kind, subject, due_at)
        SELECT id, $1, subject, now() + $4 FROM unnest($2::uuid[], $3::text[]) AS row (id, subject)
        ON CONFLICT (subject, kind) WHERE state <> 'done' DO UPDATE
        SET state = 'pending', asked_at = clock_timestamp(),
            reason = CASE WHEN stored.reason = 'throttled' THEN stored.reason END,
            due_at = CASE WHEN stored.reason = 'throttled' THEN stored.due_at
                     WHEN stored.state = 'pending' THEN least(stored.due_at, excluded.due_at)
                     ELSE excluded.due_at END,
            attempts = CASE WHEN stored.lease_until > now() THEN stored.attempts ELSE 0 END
        """,
        kind,
        [uuid7() for _ in subjects],
        sorted(subjects),
        after,
    )


async def add_if_token(
    conn: Conn, kind: FollowUpKind, waba_ids: Collection[str], *, after: timedelta = AT_ONCE
) -> None:
    """Request the follow-up, as `add` does, for those of these connections that have a token."""
    records = await conn.fetch(
        "SELECT waba_id FROM whatsapp_connections WHERE waba_id = ANY($1) AND token IS NOT NULL",
        list(waba_ids),
    )
    if records:
        await add(conn, kind, [record["waba_id"] for record in records], after=after)


async def close(conn: Conn, kinds: Collection[FollowUpKind], subject: str) -> None:
    """End open follow-ups of these kinds: they are not needed any more.

    A worker that has leased one finds its lease void. The lease still blocks other follow-ups of
    the subject until it lapses, when the worker's call is surely over.
    """
    await conn.execute(
        """
        UPDATE follow_ups SET state = 'done', ended_at = now()
        WHERE subject = $1 AND kind = ANY($2::follow_up_kind[]) AND state <> 'done'
        """,
        subject,
        list(kinds),
    )


async def end_lease(conn: Conn, follow_up_id: UUID, lease_until: datetime | None) -> None:
    """End the lease of a closed follow-up whose worker has finished: others need not wait."""
    await conn.execute(
        """
        UPDATE follow_ups SET lease_until = '-infinity'
        WHERE id = $1 AND lease_until = $2 AND state = 'done'
        """,
        follow_up_id,
        lease_until,
    )


async def is_open(conn: Conn, kind: FollowUpKind, subject: str) -> bool:
    return bool(
        await conn.fetchval(
            """
            SELECT true FROM follow_ups
            WHERE subject = $1 AND kind = $2::follow_up_kind AND state <> 'done'
            """,
            subject,
            kind,
        )
    )


async def wake_waiting(conn: Conn, waba_ids: Collection[str]) -> None:
    """Make follow-ups due that wait for a webhook of these WABAs: one was received."""
    await conn.execute(
        """
        UPDATE follow_ups SET due_at = now()
        WHERE subject = ANY($1) AND kind = 'provision' AND state = 'pending'
            AND reason = $2 AND lease_until < now()
        """,
        sorted(waba_ids),
        AWAITING_WEBHOOK,
    )


async def awaiting_webhook(conn: Conn, limit: int) -> frozenset[str]:
    """Return WABAs whose provisioning waits for a webhook."""
    records = await conn.fetch(
        """
        SELECT subject FROM follow_ups
        WHERE kind = 'provision' AND state = 'pending' AND reason = $1 LIMIT $2
        """,
        AWAITING_WEBHOOK,
        limit,
    )
    return frozenset(record["subject"] for record in records)


async def load(conn: Conn, lease: due.Lease) -> FollowUp | None:
    """Return the leased follow-up; None if the lease is void."""
    record = await conn.fetchrow(
        """
        SELECT id, kind, subject, attempts, lease_until, asked_at FROM follow_ups
        WHERE id = $1 AND attempts = $2 AND state = 'pending'
        """,
        lease.id,
        lease.attempts,
    )
    return None if record is None else FollowUp(**record)


async def fence(conn: Conn, follow_up: FollowUp) -> None:
    """Lock the follow-up until the transaction ends. Raise LeaseLost if its lease is void.

    Lock the connection or onboarding it is about first.
    """
    is_leased = await conn.fetchval(
        """
        SELECT true FROM follow_ups
        WHERE id = $1 AND lease_until = $2 AND state = 'pending' FOR UPDATE
        """,
        follow_up.id,
        follow_up.lease_until,
    )
    if not is_leased:
        raise LeaseLost


async def end(conn: Conn, follow_up: FollowUp) -> None:
    """Mark a fenced follow-up as done, or as due now if it was requested again meanwhile."""
    await conn.execute(
        """
        UPDATE follow_ups SET
            state = CASE WHEN asked_at = $2 THEN 'done' ELSE 'pending' END::follow_up_state,
            ended_at = CASE WHEN asked_at = $2 THEN now() END,
            attempts = 0, interruptions = 0, due_at = now(), lease_until = '-infinity',
            reason = NULL
        WHERE id = $1
        """,
        follow_up.id,
        follow_up.asked_at,
    )


async def block(conn: Conn, follow_up: FollowUp, reason: Reason) -> None:
    """Block a fenced follow-up until it is requested again. If that happened meanwhile, it is due
    now."""
    await conn.execute(
        """
        UPDATE follow_ups SET
            state = CASE WHEN asked_at = $2 THEN 'blocked' ELSE 'pending' END::follow_up_state,
            attempts = 0, interruptions = 0, due_at = now(), lease_until = '-infinity', reason = $3
        WHERE id = $1
        """,
        follow_up.id,
        follow_up.asked_at,
        reason,
    )


async def advance(conn: Conn, follow_up: FollowUp) -> None:
    """Make a fenced follow-up due again at once, with no attempts counted: a step is done."""
    await conn.execute(
        """
        UPDATE follow_ups
        SET attempts = 0, interruptions = 0, due_at = now(), lease_until = '-infinity',
            reason = NULL
        WHERE id = $1
        """,
        follow_up.id,
    )


async def put_off(
    conn: Conn, follow_up: FollowUp, after: timedelta, reason: Reason, *, is_counted: bool
) -> None:
    """Make a fenced follow-up due `after` that time; at once if it was requested again meanwhile.

    If it waits for a rate limit of Meta (`throttled`), it always waits. `is_counted` says whether
    the attempt counts.
    """
    await conn.execute(
        """
        UPDATE follow_ups SET
            due_at = CASE WHEN asked_at = $2 OR $5 = 'throttled' THEN now() + $3 ELSE now() END,
            attempts = greatest(attempts - $4, 0), lease_until = '-infinity', reason = $5
        WHERE id = $1
        """,
        follow_up.id,
        follow_up.asked_at,
        after,
        0 if is_counted else 1,
        reason,
    )


async def start_over(conn: Conn, follow_up: FollowUp, after: timedelta, reason: Reason) -> None:
    """Make a fenced follow-up due `after` that time, as if it was never attempted."""
    await conn.execute(
        """
        UPDATE follow_ups
        SET due_at = now() + $2, attempts = 0, interruptions = 0, lease_until = '-infinity',
            reason = $3
        WHERE id = $1
        """,
        follow_up.id,
        after,
        reason,
    )
