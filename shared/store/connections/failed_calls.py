"""Failed calls to Meta: what failed, of what, and with which of Meta's codes.

Kept for 30 days. What says only that Meta is away is kept once an hour: each connection's check
then fails every 15 minutes.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from shared.domain.graph_errors import GraphError, MetaThrottled, MetaUnavailable
from shared.store.pool import Conn, Pool, transaction

log = structlog.get_logger()

#: How long a call that failed waits until it is kept.
KEEP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class FailedCall:
    """`phone_number_id` is empty if the call was about the whole WABA. `code` and `subcode` are
    Meta's; None: it gave none. No text of Meta's is kept: it may quote a secret."""

    id: UUID
    at: datetime
    step: str
    phone_number_id: str
    reason: str
    code: int | None
    subcode: int | None


async def keep(pool: Pool, subject: str, phone_number_id: str, error: GraphError) -> None:
    """Keep a failed call. `subject` is the WABA, or the onboarding's id.

    Raise nothing if it cannot be stored: the call's own failure is what must be dealt with.
    """
    try:
        async with asyncio.timeout(KEEP_SECONDS), transaction(pool) as conn:
            await conn.execute(
                """
                INSERT INTO failed_calls (id, subject, step, phone_number_id, reason, code, subcode)
                SELECT $1, $2, $3, $4, $5, $6, $7
                WHERE NOT $8 OR NOT EXISTS (
                    SELECT FROM failed_calls
                    WHERE subject = $2 AND step = $3 AND phone_number_id = $4 AND reason = $5
                        AND at > now() - interval '1 hour'
                )
                """,
                uuid7(),
                subject,
                error.step,
                phone_number_id,
                error.reason,
                error.code,
                error.subcode,
                isinstance(error, MetaUnavailable | MetaThrottled),
            )
    except Exception as fault:
        log.error(
            "failed_call.not_kept",
            step=error.step,
            reason=error.reason,
            error=type(fault).__qualname__,
        )


async def latest(
    conn: Conn,
    subject: str,
    *,
    limit: int,
    before: UUID | None = None,
    since: datetime | None = None,
) -> list[FailedCall]:
    """Return failed calls about the subject, the newest first: `before` the one with that id, and
    `since` that time."""
    records = await conn.fetch(
        """
        SELECT id, at, step, phone_number_id, reason, code, subcode FROM failed_calls
        WHERE subject = $1 AND ($3::uuid IS NULL OR id < $3)
            AND ($4::timestamptz IS NULL OR at >= $4)
        ORDER BY id DESC LIMIT $2
        """,
        subject,
        limit,
        before,
        since,
    )
    return [FailedCall(**record) for record in records]
