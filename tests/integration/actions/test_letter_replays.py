"""Ten thousand dead letters of three causes are listed by cause, replayed, stopped and resumed."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pytest import MonkeyPatch

from shared.actions import letter_replays
from shared.crypto import KeyRing
from shared.messages import encode_webhook, join_bundle
from shared.store.audit import Requester
from shared.store.intake import dead_letters, letter_views, replays, webhooks
from shared.store.intake.letter_views import LetterFilter
from shared.store.intake.replays import LetterSelection, Replay
from shared.store.pool import Conn, Pool, transaction
from tests.support.samples import make_webhook, make_webhook_row

LETTERS = 10_000
_FILL = f"""
INSERT INTO webhook_log (id, received_at, digest, kind, lane, stored_via, state, changes_left)
    SELECT gen_random_uuid(), now(), '\\x00', 'whatsapp', 'fast', 'broker', 'split', 1
    FROM generate_series(1, {LETTERS});
INSERT INTO webhook_changes (id, webhook_id, received_at, key, field, event, state, attempts,
                             last_error, first_failed_at)
    SELECT gen_random_uuid(), id, received_at, sha256(id::text::bytea), 'account_update',
           'PARTNER_ADDED', 'dead', 4,
           'failed: Fault' || CASE WHEN row_number() OVER () <= 5000 THEN 1
                                   WHEN row_number() OVER () <= 8000 THEN 2 ELSE 3 END,
           now() - interval '1 hour'
    FROM webhook_log;
"""
COUNTS = [5_000, 3_000, 2_000]


@pytest.fixture
async def letters(conn: Conn) -> list[str]:
    """Make the dead letters. Return their fingerprints, the most frequent first."""
    await conn.execute(_FILL)
    ids = [row["id"] for row in await conn.fetch("SELECT id FROM webhook_changes")]
    await dead_letters.add_changes(conn, ids, "ours")
    await dead_letters.add_changes(conn, ids, "ours")
    causes = await letter_views.causes(conn, LetterFilter())
    assert [cause.count for cause in causes] == COUNTS
    assert {(cause.kind, cause.blame) for cause in causes} == {("change", "ours")}
    return [cause.fingerprint for cause in causes]


async def start_replay(
    pool: Pool,
    selection: LetterSelection,
    *,
    outcome: replays.LetterOutcome = "replayed",
    rate: int = 100_000,
) -> UUID:
    async with transaction(pool) as conn:
        return await letter_replays.start(
            conn, selection, outcome, rate=rate, requester=Requester("ana", "fixed")
        )


async def progress(pool: Pool, replay_id: UUID) -> Replay:
    async with transaction(pool) as conn:
        replay = await replays.get(conn, replay_id)
    assert replay is not None
    return replay


async def test_one_cause_is_replayed_stopped_half_way_and_resumed_with_exact_counts(
    letters: list[str], pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    cut_off = datetime.now(UTC) + timedelta(seconds=1)
    late_id = await conn.fetchval(
        "UPDATE dead_letters SET died_at = now() + interval '1 hour' WHERE id ="
        " (SELECT id FROM dead_letters WHERE fingerprint = $1 LIMIT 1) RETURNING id",
        letters[0],
    )
    replay_id = await start_replay(pool, LetterSelection(None, letters[0], cut_off))
    half_way = asyncio.Event()

    def stop_half_way(replay: Replay) -> None:
        if replay.done >= COUNTS[0] / 2:
            half_way.set()

    running = asyncio.ensure_future(letter_replays.run(pool, ring, replay_id, stop_half_way))
    await asyncio.wait_for(half_way.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    stopped = await progress(pool, replay_id)
    assert COUNTS[0] / 2 <= stopped.done < COUNTS[0] - 1
    assert stopped.finished_at is None
    pending = "SELECT count(*) FROM webhook_changes WHERE state = 'pending'"
    assert await conn.fetchval(pending) == stopped.done

    await asyncio.gather(
        *(letter_replays.run(pool, ring, replay_id, lambda _: None) for _ in range(3))
    )
    done = await progress(pool, replay_id)
    assert (done.total, done.done, done.skipped) == (COUNTS[0] - 1, COUNTS[0] - 1, 0)
    assert done.finished_at is not None
    assert await conn.fetchval(pending) == COUNTS[0] - 1
    open_letters = await letter_views.listed(
        conn, LetterFilter(fingerprint=letters[0]), after=None, limit=10
    )
    assert [letter.id for letter in open_letters] == [late_id]
    assert [cause.count for cause in await letter_views.causes(conn, LetterFilter())] == [
        *COUNTS[1:],
        1,
    ]


async def test_two_replays_of_the_same_letters_close_each_letter_once(
    letters: list[str], pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    everything = LetterSelection(None, letters[2], datetime.now(UTC) + timedelta(seconds=1))
    replay_ids = [await start_replay(pool, everything) for _ in range(2)]
    await asyncio.gather(
        *(letter_replays.run(pool, ring, replay_id, lambda _: None) for replay_id in replay_ids)
    )
    finished = [await progress(pool, replay_id) for replay_id in replay_ids]
    assert sum(replay.done for replay in finished) == COUNTS[2]
    assert [replay.total for replay in finished] == [COUNTS[2]] * 2


async def test_a_replay_closes_no_more_letters_a_second_than_its_rate(
    letters: list[str], pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    chosen = await letter_views.listed(
        conn, LetterFilter(fingerprint=letters[1]), after=None, limit=120
    )
    selection = LetterSelection(
        [letter.id for letter in chosen], None, datetime.now(UTC) + timedelta(1)
    )
    replay_id = await start_replay(pool, selection, rate=50)
    done, slept, sleep = [0], [0.0], asyncio.sleep

    async def fake_sleep(seconds: float) -> None:
        slept.append(slept[-1] + seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", fake_sleep)
    await letter_replays.run(pool, ring, replay_id, lambda replay: done.append(replay.done))
    assert done[-1] == 120
    steps = list(zip(done, slept, strict=False))
    assert len(steps) > 3
    assert all(closed <= 50 * (seconds + 1) for closed, seconds in steps)
    assert slept[-1] >= 120 / 50


async def test_discarding_letters_makes_their_webhooks_processed(
    letters: list[str], pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    chosen = await letter_views.listed(
        conn, LetterFilter(fingerprint=letters[1]), after=None, limit=7
    )
    selection = LetterSelection(
        [letter.id for letter in chosen], None, datetime.now(UTC) + timedelta(1)
    )
    async with transaction(pool) as tx:
        assert await replays.count(tx, selection) == 7
    replay_id = await start_replay(pool, selection, outcome="discarded")
    await letter_replays.run(pool, ring, replay_id, lambda _: None)
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 7
    assert (
        await conn.fetchval("SELECT count(*) FROM webhook_changes WHERE state = 'discarded'") == 7
    )


async def test_an_envelope_is_replayed_if_it_is_a_bundle_and_is_skipped_otherwise(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    stored, fresh = make_webhook(), make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(stored, state="split")])
    bundle = join_bundle([encode_webhook(stored), encode_webhook(fresh)])
    lost_key = KeyRing([b"\x17" * 32])
    for body, body_ring in (
        (bundle, ring),
        (bundle, ring),
        (b"no bundle", ring),
        (b"lost", lost_key),
    ):
        await dead_letters.add_message(conn, body_ring, body, "given up: rejected in dead", "ours")
    [cause] = await letter_views.causes(conn, LetterFilter())
    assert cause.count == 3

    selection = LetterSelection(None, cause.fingerprint, datetime.now(UTC) + timedelta(seconds=1))
    replay_id = await start_replay(pool, selection)
    await letter_replays.run(pool, ring, replay_id, lambda _: None)
    done = await progress(pool, replay_id)
    assert (done.total, done.done, done.skipped) == (3, 1, 2)
    rows = await conn.fetch("SELECT id, state::text FROM webhook_log")
    assert {row["id"]: row["state"] for row in rows} == {stored.id: "split", fresh.id: "unsplit"}
