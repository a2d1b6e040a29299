"""Follow-ups: work that calls Meta, claimed and tried like a change, one open of a kind each."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.domain.provisioning import SYNCS, Step
from shared.store import due
from shared.store.pool import Conn

FollowUpKind = Literal["prove", "provision", "read", "disconnect"]
AT_ONCE = timedelta(0)


class LeaseLost(Exception):
    """The claim's lease lapsed, and the follow-up is another's: nothing may be done for it."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A claimed one; every transaction for it begins with `fence`."""

    id: UUID
    kind: FollowUpKind
    subject: str
    attempts: int
    lease_until: datetime
    asked_at: datetime


async def add(
    conn: Conn, kind: FollowUpKind, subjects: Collection[str], *, after: timedelta = AT_ONCE
) -> None:
    """Ask for it, anew if it is blocked or under way. Idempotent while it is open.

    What waits for a limit of Meta's goes on waiting: calls meanwhile would prolong it.
    """
    await conn.execute(
        """
        INSERT INTO follow_ups AS held (id, kind, subject, due_at)
        SELECT id, $1, subject, now() + $4 FROM unnest($2::uuid[], $3::text[]) AS row (id, subject)
        ON CONFLICT (subject, kind) WHERE state <> 'done' DO UPDATE
        SET state = 'pending', asked_at = clock_timestamp(),
            reason = CASE WHEN held.reason = 'throttled' THEN held.reason END,
            due_at = CASE WHEN held.reason = 'throttled' THEN held.due_at
                     WHEN held.state = 'pending' THEN least(held.due_at, excluded.due_at)
                     ELSE excluded.due_at END,
            attempts = CASE WHEN held.lease_until > now() THEN held.attempts ELSE 0 END
        """,
        kind,
        [uuid7() for _ in subjects],
        sorted(subjects),
        after,
    )


async def add_if_token(
    conn: Conn, kind: FollowUpKind, waba_ids: Collection[str], *, after: timedelta = AT_ONCE
) -> None:
    """The same for those of these connections that have a token."""
    records = await conn.fetch(
        "SELECT waba_id FROM whatsapp_connections WHERE waba_id = ANY($1) AND token IS NOT NULL",
        list(waba_ids),
    )
    if records:
        await add(conn, kind, [record["waba_id"] for record in records], after=after)


async def close(conn: Conn, kinds: Collection[FollowUpKind], subject: str) -> None:
    """These are not wanted any more. Who works one finds its claim void, and nothing else is done
    to the subject until its call is surely over: the lease stands.
    """
    await conn.execute(
        """
        UPDATE follow_ups SET state = 'done', ended_at = now()
        WHERE subject = $1 AND kind = ANY($2::follow_up_kind[]) AND state <> 'done'
        """,
        subject,
        list(kinds),
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
    """A webhook of these has come: what waits for one is due."""
    await conn.execute(
        """
        UPDATE follow_ups SET due_at = now()
        WHERE subject = ANY($1) AND kind = 'provision' AND state = 'pending'
            AND reason = 'awaiting_webhook' AND lease_until < now()
        """,
        sorted(waba_ids),
    )


async def load(conn: Conn, lease: due.Lease) -> FollowUp | None:
    """None if the claim is void."""
    record = await conn.fetchrow(
        """
        SELECT id, kind, subject, attempts, lease_until, asked_at FROM follow_ups
        WHERE id = $1 AND attempts = $2 AND state = 'pending'
        """,
        lease.id,
        lease.attempts,
    )
    return None if record is None else FollowUp(*record)


async def fence(conn: Conn, one: FollowUp) -> None:
    """Lock it until the transaction ends, after the rows it is about. Raises Void."""
    is_held = await conn.fetchval(
        """
        SELECT true FROM follow_ups
        WHERE id = $1 AND lease_until = $2 AND state = 'pending' FOR UPDATE
        """,
        one.id,
        one.lease_until,
    )
    if not is_held:
        raise LeaseLost


async def end(conn: Conn, one: FollowUp) -> None:
    """A held one is done, unless it was asked for again meanwhile."""
    await conn.execute(
        """
        UPDATE follow_ups SET
            state = CASE WHEN asked_at = $2 THEN 'done' ELSE 'pending' END::follow_up_state,
            ended_at = CASE WHEN asked_at = $2 THEN now() END,
            attempts = 0, due_at = now(), lease_until = '-infinity', reason = NULL
        WHERE id = $1
        """,
        one.id,
        one.asked_at,
    )


async def block(conn: Conn, one: FollowUp, reason: str) -> None:
    """A held one waits until it is asked for again, which may have happened meanwhile."""
    await conn.execute(
        """
        UPDATE follow_ups SET
            state = CASE WHEN asked_at = $2 THEN 'blocked' ELSE 'pending' END::follow_up_state,
            attempts = 0, due_at = now(), lease_until = '-infinity', reason = $3
        WHERE id = $1
        """,
        one.id,
        one.asked_at,
        reason,
    )


async def advance(conn: Conn, one: FollowUp) -> None:
    """A held one came a step further: due again at once, with all its tries."""
    await conn.execute(
        """
        UPDATE follow_ups SET attempts = 0, due_at = now(), lease_until = '-infinity', reason = NULL
        WHERE id = $1
        """,
        one.id,
    )


async def put_off(
    conn: Conn, one: FollowUp, after: timedelta, reason: str, *, is_try: bool
) -> None:
    """A held one is due again after that, or at once if it was asked for again meanwhile: unless it
    is a limit of Meta's that it waits for."""
    await conn.execute(
        """
        UPDATE follow_ups SET
            due_at = CASE WHEN asked_at = $2 OR $5 = 'throttled' THEN now() + $3 ELSE now() END,
            attempts = greatest(attempts - $4, 0), lease_until = '-infinity', reason = $5
        WHERE id = $1
        """,
        one.id,
        one.asked_at,
        after,
        0 if is_try else 1,
        reason,
    )


async def begin_step(conn: Conn, one: FollowUp, step: Step) -> None:
    """Before it is tried; idempotent."""
    await conn.execute(
        """
        INSERT INTO provision_steps (follow_up_id, waba_id, step, phone_number_id)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        one.id,
        one.subject,
        step.name,
        step.phone_number_id,
    )


async def end_step(conn: Conn, one: FollowUp, step: Step) -> None:
    """It had its effect."""
    await conn.execute(
        """
        UPDATE provision_steps SET done_at = clock_timestamp()
        WHERE follow_up_id = $1 AND step = $2 AND phone_number_id = $3
        """,
        one.id,
        step.name,
        step.phone_number_id,
    )


async def half_registered(conn: Conn, waba_id: str) -> set[str]:
    """Numbers whose registration was begun and has no outcome: Meta may have done it."""
    records = await conn.fetch(
        """
        SELECT phone_number_id FROM provision_steps
        WHERE waba_id = $1 AND step = 'register' AND done_at IS NULL
        """,
        waba_id,
    )
    return {record["phone_number_id"] for record in records}


async def done_steps(conn: Conn, one: FollowUp, *, proven_at: datetime) -> set[Step]:
    """Those done since it was asked for, and syncs since the proof: Meta takes those once."""
    records = await conn.fetch(
        """
        SELECT step, phone_number_id FROM provision_steps
        WHERE waba_id = $2 AND done_at IS NOT NULL
            AND (follow_up_id = $1 AND done_at >= $5 OR step = ANY($3) AND done_at >= $4)
        """,
        one.id,
        one.subject,
        list(SYNCS),
        proven_at,
        one.asked_at,
    )
    return {Step(*record) for record in records}
