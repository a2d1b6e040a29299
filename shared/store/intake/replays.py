"""Replays: which dead letters an operator replays or discards, and the progress of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.store.audit import Requester
from shared.store.intake import letter_views
from shared.store.intake.dead_letters import Letter
from shared.store.pool import Conn

LetterOutcome = Literal["replayed", "discarded"]


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """Open letters with these ids or, if `ids` is None, with this fingerprint. Only those that died
    at `died_until` (None: now) or before."""

    ids: Sequence[UUID] | None
    fingerprint: str | None
    died_until: datetime | None


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay. `rate` is letters a second. `reached` is the last letter that was handled.
    `skipped` counts letters that could not be replayed."""

    id: UUID
    outcome: LetterOutcome
    selection: LetterSelection
    rate: int
    total: int
    done: int
    skipped: int
    reached: UUID | None
    finished_at: datetime | None


async def count(conn: Conn, selection: LetterSelection) -> int:
    letters: int = await conn.fetchval(
        f"SELECT count(*) FROM dead_letters WHERE {_condition(selection)}",
        *_arguments(selection),
    )
    return letters


async def add(
    conn: Conn,
    selection: LetterSelection,
    outcome: LetterOutcome,
    *,
    rate: int,
    requester: Requester,
) -> UUID:
    """Add a replay and return its id. No letter is replayed yet."""
    id_: UUID = uuid7()
    await conn.execute(
        f"""
        INSERT INTO replays
            (id, ids, fingerprint, died_until, outcome, rate, actor, reason, total)
        SELECT $3, $4, $5, coalesce($2, now()), $6, $7, $8, $9, count(*)
        FROM dead_letters WHERE {_condition(selection)}
        """,
        *_arguments(selection),
        id_,
        None if selection.ids is None else list(selection.ids),
        selection.fingerprint,
        outcome,
        rate,
        requester.actor,
        requester.reason,
    )
    return id_


async def get(conn: Conn, replay_id: UUID) -> Replay | None:
    """Return the replay, locked until the transaction ends; None if there is none."""
    record = await conn.fetchrow(
        """
        SELECT id, outcome, ids, fingerprint, died_until, rate, total, done, skipped, reached,
               finished_at
        FROM replays WHERE id = $1 FOR UPDATE
        """,
        replay_id,
    )
    if record is None:
        return None
    fields = dict(record)
    selection = LetterSelection(
        *(fields.pop(name) for name in ("ids", "fingerprint", "died_until"))
    )
    return Replay(selection=selection, **fields)


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """A replay, who asked for it and why. `died_again` counts its letters that a new one
    followed."""

    id: UUID
    created_at: datetime
    finished_at: datetime | None
    outcome: LetterOutcome
    total: int
    done: int
    skipped: int
    died_again: int
    actor: str
    reason: str


async def listed(conn: Conn, *, before: UUID | None, limit: int) -> list[ReplaySummary]:
    """Return the replays before `before`, the newest first."""
    records = await conn.fetch(
        """
        SELECT id, created_at, finished_at, outcome, total, done, skipped, actor, reason,
               (SELECT count(*) FROM dead_letters
                WHERE replay_id = replays.id AND replays.outcome = 'replayed' AND EXISTS (
                    SELECT FROM dead_letters AS other
                    WHERE other.webhook_id = dead_letters.webhook_id
                        AND other.subject_id = dead_letters.subject_id
                        AND other.id > dead_letters.id
                )) AS died_again
        FROM replays WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
        """,
        before,
        limit,
    )
    return [ReplaySummary(**record) for record in records]


async def next_letters(conn: Conn, replay: Replay, *, limit: int) -> list[Letter]:
    """Return letters after the last one the replay reached, locked until the transaction ends."""
    await _close_alone(conn)
    ids = await conn.fetch(
        f"""
        SELECT id FROM dead_letters
        WHERE {_condition(replay.selection)} AND ($3::uuid IS NULL OR id > $3)
        ORDER BY id LIMIT $4 FOR UPDATE
        """,
        *_arguments(replay.selection),
        replay.reached,
        limit,
    )
    return await letter_views.by_ids(conn, [record["id"] for record in ids])


async def old_letters(conn: Conn, died_before: datetime, *, limit: int) -> list[Letter]:
    """Return open letters that died before, the oldest first, locked until the transaction ends."""
    await _close_alone(conn)
    ids = await conn.fetch(
        """
        SELECT id FROM dead_letters WHERE closed_at IS NULL AND died_at < $1
        ORDER BY died_at, id LIMIT $2 FOR UPDATE
        """,
        died_before,
        limit,
    )
    return await letter_views.by_ids(conn, [record["id"] for record in ids])


async def _close_alone(conn: Conn) -> None:
    """Let no other transaction close letters. Otherwise a replay that waits for the letters of
    another would find them closed, get none, and end too early."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('porteiro replays'))")


async def advance(
    conn: Conn, replay_id: UUID, *, reached: UUID | None, done: int, skipped: int
) -> None:
    """Add to the counts of the replay. If `reached` is None, mark the replay as finished."""
    await conn.execute(
        """
        UPDATE replays
        SET done = done + $3, skipped = skipped + $4, reached = coalesce($2, reached),
            finished_at = CASE WHEN $2::uuid IS NULL THEN now() END
        WHERE id = $1 AND finished_at IS NULL
        """,
        replay_id,
        reached,
        done,
        skipped,
    )


def _condition(selection: LetterSelection) -> str:
    """Return the SQL condition. Its $1 and $2 are the selection's `_arguments`."""
    by = "fingerprint = $1::text" if selection.ids is None else "id = ANY($1::uuid[])"
    return f"closed_at IS NULL AND died_at <= coalesce($2::timestamptz, now()) AND {by}"


def _arguments(selection: LetterSelection) -> tuple[list[UUID] | str | None, datetime | None]:
    ids_or_fingerprint = selection.fingerprint if selection.ids is None else list(selection.ids)
    return ids_or_fingerprint, selection.died_until
