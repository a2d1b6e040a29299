"""Dead letters: what was given up and why. A letter is open until it is replayed or discarded."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing, associated_data
from shared.domain.retries import Blame
from shared.store.pool import Conn

LetterKind = Literal["change", "webhook", "message"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `field`, `event`, `waba_id` and `organization_id` are None unless it is
    of a change.

    `replays` counts the earlier letters of the same webhook or change that were replayed.
    `died_again_as` is the letter that followed the replay of this one.
    """

    id: UUID
    kind: LetterKind
    subject_id: UUID
    webhook_id: UUID | None
    blame: Blame
    error: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime
    died_at: datetime
    closed_at: datetime | None
    outcome: str | None
    field: str | None
    event: str | None
    waba_id: str | None
    organization_id: str | None
    replays: int
    died_again_as: UUID | None


async def add_webhooks(conn: Conn, ids: Collection[UUID], blame: Blame) -> list[UUID]:
    """Add a letter for each dead webhook. Return the letters' ids. Call it in the transaction that
    marks them dead. Idempotent."""
    added = await conn.fetch(
        """
        INSERT INTO dead_letters (id, kind, subject_id, webhook_id, blame, error, fingerprint,
                                  attempts, first_failed_at)
        SELECT letter.id, 'webhook', log.id, log.id, $3, last_error,
               left(encode(sha256(convert_to('webhook|' || last_error, 'UTF8')), 'hex'), 12),
               attempts, coalesce(first_failed_at, now())
        FROM unnest($1::uuid[], $2::uuid[]) AS letter (id, webhook_id)
            JOIN webhook_log AS log ON log.id = letter.webhook_id
        WHERE log.state = 'dead'
        ON CONFLICT (subject_id) WHERE closed_at IS NULL DO NOTHING
        RETURNING id
        """,
        [uuid7() for _ in ids],
        list(ids),
        blame,
    )
    return [record["id"] for record in added]


async def add_changes(conn: Conn, ids: Collection[UUID], blame: Blame) -> list[UUID]:
    """Add a letter for each dead change. Return the letters' ids. Call it in the transaction that
    marks them dead. Idempotent."""
    added = await conn.fetch(
        """
        INSERT INTO dead_letters (id, kind, subject_id, webhook_id, blame, error, fingerprint,
                                  attempts, first_failed_at)
        SELECT letter.id, 'change', change.id, webhook_id, $3, last_error,
               left(encode(sha256(convert_to(
                   concat_ws('|', 'change', field, event, last_error), 'UTF8')), 'hex'), 12),
               attempts, coalesce(first_failed_at, now())
        FROM unnest($1::uuid[], $2::uuid[]) AS letter (id, change_id)
            JOIN webhook_changes AS change ON change.id = letter.change_id
        WHERE change.state = 'dead'
        ON CONFLICT (subject_id) WHERE closed_at IS NULL DO NOTHING
        RETURNING id
        """,
        [uuid7() for _ in ids],
        list(ids),
        blame,
    )
    return [record["id"] for record in added]


async def add_message(
    conn: Conn, ring: KeyRing, body: bytes, error: str, blame: Blame
) -> UUID | None:
    """Add a letter for a message that RabbitMQ dead-lettered. Its bytes are sealed, not parsed.
    Return its id, or None if there is an open letter of the same bytes already."""
    digest = sha256(body).digest()
    id_: UUID = uuid7()
    status = await conn.execute(
        """
        INSERT INTO dead_letters (id, kind, subject_id, blame, error, fingerprint, attempts,
                                  first_failed_at, body)
        VALUES ($1, 'message', $2, $3, $4, $5, 1, now(), $6)
        ON CONFLICT (subject_id) WHERE closed_at IS NULL DO NOTHING
        """,
        id_,
        UUID(bytes=digest[:16]),
        blame,
        error,
        message_fingerprint(error),
        ring.seal(body, _binding(id_)),
    )
    return id_ if status == "INSERT 0 1" else None


def message_fingerprint(error: str) -> str:
    """Return the fingerprint of letters of messages with this error."""
    return sha256(f"message|{error}".encode()).hexdigest()[:12]


async def message_body(conn: Conn, ring: KeyRing, letter_id: UUID) -> bytes | None:
    """Return the bytes of a letter of kind `message`; None if there are none.

    May raise Undecryptable.
    """
    body = await conn.fetchval("SELECT body FROM dead_letters WHERE id = $1", letter_id)
    return None if body is None else ring.open(body, _binding(letter_id))


async def count_old(conn: Conn, died_before: datetime) -> dict[str, int]:
    query = "SELECT count(*) FROM dead_letters WHERE closed_at IS NULL AND died_at < $1"
    return {"discarded_letters": await conn.fetchval(query, died_before)}


async def close(
    conn: Conn, letters: Sequence[Letter], *, outcome: str, replay_id: UUID | None
) -> None:
    """Close locked letters. Their webhooks and changes become due again, or discarded."""
    by_kind: dict[LetterKind, list[UUID]] = {"change": [], "webhook": []}
    for letter in letters:
        by_kind.setdefault(letter.kind, []).append(letter.subject_id)
    is_replay = outcome == "replayed"
    await conn.execute(
        """
        UPDATE webhook_changes
        SET state = $2::change_state, attempts = 0, interruptions = 0, first_failed_at = NULL,
            lease_until = '-infinity',
            next_attempt_at = CASE WHEN $2::change_state = 'pending' THEN now() END
        WHERE id = ANY($1) AND state = 'dead'
        """,
        by_kind["change"],
        "pending" if is_replay else "discarded",
    )
    await conn.execute(
        """
        UPDATE webhook_log
        SET state = $2::webhook_state, attempts = 0, interruptions = 0, first_failed_at = NULL,
            lease_until = '-infinity', processed = $2::webhook_state = 'discarded'
        WHERE id = ANY($1) AND state = 'dead'
        """,
        by_kind["webhook"],
        "unsplit" if is_replay else "discarded",
    )
    await conn.execute(
        """
        UPDATE dead_letters SET closed_at = now(), outcome = $2, replay_id = $3
        WHERE id = ANY($1) AND closed_at IS NULL
        """,
        [letter.id for letter in letters],
        outcome,
        replay_id,
    )


def _binding(letter_id: UUID) -> bytes:
    return associated_data("dead_letters", letter_id.bytes, "body")
