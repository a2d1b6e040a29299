"""Dead letters as operators see them: one by one, or by their causes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.domain.retries import Blame
from shared.store.intake.dead_letters import Letter, LetterKind
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Open letters, or closed ones with `is_closed`, that match all that is not None. `since` and
    `until` are about when they died."""

    fingerprint: str | None = None
    waba_id: str | None = None
    organization_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """A group of open letters that have the same cause. `died_again` counts those whose webhook or
    change was replayed before."""

    fingerprint: str
    kind: LetterKind
    blame: Blame
    error: str
    count: int
    first_failed_at: datetime
    died_at: datetime
    died_again: int


async def causes(conn: Conn, chosen: LetterFilter) -> list[Cause]:
    """Return the causes of the letters, the most frequent first."""
    records = await conn.fetch(
        f"""
        SELECT fingerprint, min(kind) AS kind, min(blame) AS blame, min(error) AS error,
               count(*) AS count, min(first_failed_at) AS first_failed_at,
               max(died_at) AS died_at, count(*) FILTER (WHERE replays > 0) AS died_again
        FROM ({_SELECT} WHERE {_condition(chosen)}) AS letter
        GROUP BY fingerprint ORDER BY count(*) DESC, fingerprint
        """,
        *_arguments(chosen),
    )
    return [Cause(**record) for record in records]


async def listed(
    conn: Conn, chosen: LetterFilter, *, after: UUID | None, limit: int
) -> list[Letter]:
    """Return the letters after `after`, the oldest first."""
    records = await conn.fetch(
        f"""
        {_SELECT} WHERE {_condition(chosen)} AND ($6::uuid IS NULL OR dead_letters.id > $6)
        ORDER BY dead_letters.id LIMIT $7
        """,
        *_arguments(chosen),
        after,
        limit,
    )
    return [Letter(**record) for record in records]


async def about(conn: Conn, id_: UUID, *, limit: int) -> list[Letter]:
    """Return the letters with this id, or of the webhook or change with this id, the newest
    first."""
    records = await conn.fetch(
        f"""
        {_SELECT}
        WHERE dead_letters.id = $1 OR dead_letters.webhook_id = $1
            OR (dead_letters.webhook_id =
                    (SELECT webhook_id FROM webhook_changes WHERE id = $1) AND subject_id = $1)
        ORDER BY dead_letters.id DESC LIMIT $2
        """,
        id_,
        limit,
    )
    return [Letter(**record) for record in records]


async def by_ids(conn: Conn, ids: Collection[UUID]) -> list[Letter]:
    """Return the letters with these ids, open or closed, by id; unknown ids are left out."""
    records = await conn.fetch(
        f"{_SELECT} WHERE dead_letters.id = ANY($1) ORDER BY dead_letters.id", list(ids)
    )
    return [Letter(**record) for record in records]


#: Letters of one webhook are few, so that they are found by its id.
_SAME = """
    FROM dead_letters AS other
    WHERE other.webhook_id = dead_letters.webhook_id AND other.subject_id = dead_letters.subject_id
"""


_SELECT = f"""
    SELECT dead_letters.id, kind, subject_id, dead_letters.webhook_id, blame, error, fingerprint,
           dead_letters.attempts, dead_letters.first_failed_at, died_at, closed_at, outcome,
           field, event, waba_id, organization_id,
           (SELECT count(*) {_SAME} AND other.id < dead_letters.id
                AND other.outcome = 'replayed') AS replays,
           (SELECT other.id {_SAME} AND other.id > dead_letters.id
                AND dead_letters.outcome = 'replayed' ORDER BY other.id LIMIT 1) AS died_again_as
    FROM dead_letters LEFT JOIN webhook_changes
        ON kind = 'change' AND webhook_changes.id = subject_id
"""


def _condition(chosen: LetterFilter) -> str:
    """Return the SQL condition. Its $1 to $5 are `_arguments`."""
    return f"""
        ($1::text IS NULL OR fingerprint = $1) AND ($2::text IS NULL OR waba_id = $2)
        AND ($3::text IS NULL OR organization_id = $3)
        AND ($4::timestamptz IS NULL OR died_at >= $4)
        AND ($5::timestamptz IS NULL OR died_at < $5)
        AND closed_at IS {"NOT NULL" if chosen.is_closed else "NULL"}
    """


def _arguments(chosen: LetterFilter) -> tuple[object, ...]:
    return (
        chosen.fingerprint, chosen.waba_id, chosen.organization_id, chosen.since, chosen.until,
    )  # fmt: skip
