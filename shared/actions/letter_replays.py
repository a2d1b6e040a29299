"""Replay or discard dead letters: a single one, several, or all of one cause."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from shared.crypto import KeyRing, Undecryptable
from shared.messages import BrokenBundle, decode_bundle
from shared.process.crash_points import crash_point
from shared.store import audit
from shared.store.audit import Requester
from shared.store.intake import dead_letters, replays, webhooks
from shared.store.intake.dead_letters import Letter
from shared.store.intake.replays import LetterOutcome, LetterSelection, Replay
from shared.store.intake.webhooks import WebhookRow
from shared.store.pool import Conn, Pool, transaction
from shared.store.retention import Batch, Position

#: How many letters are closed in one transaction at most.
MAX_STEP = 100


async def start(
    conn: Conn,
    selection: LetterSelection,
    outcome: LetterOutcome,
    *,
    rate: int,
    requester: Requester,
) -> UUID:
    """Record a replay and who asked for it and why. Return its id; `run` executes it."""
    replay_id = await replays.add(conn, selection, outcome, rate=rate, requester=requester)
    await audit.add(conn, requester, action=f"dead_letters.{outcome}", subject=str(replay_id))
    return replay_id


async def run(
    pool: Pool, ring: KeyRing, replay_id: UUID, progress: Callable[[Replay], None]
) -> None:
    """Execute the replay until it is finished, at its rate of letters a second at most.

    It may be stopped at any moment and run again, also by several processes at once: each letter
    is closed only once.
    """
    while True:
        async with transaction(pool) as conn:
            replay = await replays.get(conn, replay_id)
            if replay is None or replay.finished_at is not None:
                break
            count = await _step(conn, ring, replay)
            crash_point("replay.stepping")
        progress(replay)
        await asyncio.sleep(count / replay.rate)
    if replay is not None:
        progress(replay)


async def discard_old(conn: Conn, died_before: datetime, *, days: int) -> Batch:
    """Close the oldest open letters that died before as discarded. Write an audit record each."""
    letters = await replays.old_letters(conn, died_before, limit=MAX_STEP)
    if not letters:
        return Batch({}, None)
    await _close(conn, letters, "discarded", None)
    requester = Requester("retention", f"nobody replayed it within {days} days")
    subjects = [str(letter.id) for letter in letters]
    await audit.add_each(conn, requester, action="dead_letter.discarded", subjects=subjects)
    last = letters[-1]
    return Batch({"discarded_letters": len(letters)}, Position(last.died_at, last.id))


async def _close(
    conn: Conn, letters: Sequence[Letter], outcome: LetterOutcome, replay_id: UUID | None
) -> None:
    await dead_letters.close(conn, letters, outcome=outcome, replay_id=replay_id)
    if outcome == "discarded":
        webhook_ids = (
            letter.webhook_id for letter in letters if letter.kind == "change" and letter.webhook_id
        )
        await webhooks.close_changes(conn, Counter(webhook_ids))


async def _step(conn: Conn, ring: KeyRing, replay: Replay) -> int:
    letters = await replays.next_letters(conn, replay, limit=min(MAX_STEP, replay.rate))
    closing = []
    for letter in letters:
        is_replay = replay.outcome == "replayed"
        if letter.kind == "message" and is_replay and not await _store_unsplit(conn, ring, letter):
            continue
        closing.append(letter)
    await _close(conn, closing, replay.outcome, replay.id)
    await replays.advance(
        conn,
        replay.id,
        reached=letters[-1].id if letters else None,
        done=len(closing),
        skipped=len(letters) - len(closing),
    )
    return len(letters)


async def _store_unsplit(conn: Conn, ring: KeyRing, letter: Letter) -> bool:
    """Store unsplit the webhooks of a message that the broker gave up.

    Return False if it is not a bundle that we can read.
    """
    try:
        body = await dead_letters.message_body(conn, ring, letter.id)
        bundle = decode_bundle(body or b"")
    except (Undecryptable, BrokenBundle):
        return False
    if bundle.newer is not None:
        return False
    await webhooks.insert(
        conn, ring, [WebhookRow(w, "fast", "broker", "unsplit") for w in bundle.webhooks]
    )
    return True
