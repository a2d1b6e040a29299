"""A lease counts the attempt before it begins. No row is leased twice at the same time."""

from datetime import timedelta
from typing import cast
from uuid import UUID

import pytest

from shared.crypto import KeyRing
from shared.store import due
from shared.store.connections import follow_ups
from shared.store.connections.follow_ups import FOLLOW_UP_KINDS
from shared.store.due import LEASE_TIME, MAX_TOGETHER, Lease, LeasedRows, LeaseKind
from shared.store.intake import changes, webhooks
from shared.store.intake.webhooks import WebhookState
from shared.store.pool import Conn, Pool, transaction
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

END_LEASES = "UPDATE webhook_log SET lease_until = now() - interval '1 second' WHERE attempts > 0"


@pytest.fixture
async def waiting(conn: Conn, ring: KeyRing) -> set[UUID]:
    """Store a split webhook, a dead one, and ten without attempts. Return the ids of the ten."""
    await webhooks.insert(
        conn, ring, [make_webhook_row(state="split"), make_webhook_row(state="dead")]
    )
    return await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(10)])


async def lease(conn: Conn, kind: LeaseKind) -> LeasedRows:
    if kind == "follow_up":
        return await due.lease_follow_up(conn, FOLLOW_UP_KINDS)
    return await due.lease(conn, kind)


async def leased_ids(conn: Conn, kind: LeaseKind = "fresh") -> set[UUID]:
    return {row.id for row in (await lease(conn, kind)).leases}


async def test_a_lease_counts_the_attempt_and_has_an_end(conn: Conn, waiting: set[UUID]) -> None:
    async with conn.transaction():
        leased = await due.lease(conn, "fresh")
        rows = await conn.fetch(
            "SELECT id, attempts, lease_until - now() AS lease FROM webhook_log WHERE attempts > 0"
        )
    assert {row["id"]: (row["attempts"], row["lease"]) for row in rows} == dict.fromkeys(
        waiting, (1, LEASE_TIME)
    )
    assert {(row.id, row.attempts) for row in leased.leases} == {(id_, 1) for id_ in waiting}
    assert await leased_ids(conn) == set()


async def test_two_concurrent_leases_share_no_row_and_do_not_wait(
    pool: Pool, ring: KeyRing
) -> None:
    async with transaction(pool) as conn:
        waiting = await webhooks.insert(
            conn, ring, [make_webhook_row() for _ in range(MAX_TOGETHER + 4)]
        )
    async with transaction(pool) as tx, transaction(pool) as other_tx:
        first = await leased_ids(tx)
        second = await leased_ids(other_tx)
        assert first | second == waiting
        assert (len(first), len(second)) == (MAX_TOGETHER, 4)


async def test_a_row_with_a_lapsed_lease_is_leased_alone(
    conn: Conn, ring: KeyRing, waiting: set[UUID]
) -> None:
    await leased_ids(conn)
    await conn.execute(END_LEASES)
    fresh = await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(3)])
    assert await leased_ids(conn) == fresh

    seen: set[UUID] = set()
    for _ in waiting:
        [row] = (await due.lease(conn, "tried")).leases
        assert row.attempts == 2
        seen.add(row.id)
    assert seen == waiting
    assert not await leased_ids(conn, "tried")


async def test_follow_ups_of_a_kind_without_a_handler_stay_as_they_are(conn: Conn) -> None:
    await follow_ups.add(conn, "read", ["71"])
    assert not (await due.lease_follow_up(conn, ["prove", "provision"])).leases
    assert await conn.fetchval("SELECT attempts FROM follow_ups") == 0
    assert len((await due.lease_follow_up(conn, ["read"])).leases) == 1


async def test_a_released_row_counts_no_attempt_and_waits_a_moment(
    conn: Conn, waiting: set[UUID]
) -> None:
    before = await conn.fetch("SELECT id, attempts, state FROM webhook_log ORDER BY id")
    await due.release(conn, await due.lease(conn, "fresh"), is_interrupted=False)
    after = await conn.fetch("SELECT id, attempts, state FROM webhook_log ORDER BY id")
    assert after == before
    assert await leased_ids(conn) == set()
    await conn.execute("UPDATE webhook_log SET lease_until = now() - interval '1 s'")
    assert await leased_ids(conn) == waiting


async def test_only_an_attempt_that_did_not_end_is_released(conn: Conn, waiting: set[UUID]) -> None:
    leased = await due.lease(conn, "fresh")
    split, failed, again, *_ = sorted(waiting)
    await webhooks.mark_split(conn, [split])
    await webhooks.fail(conn, Lease(failed, 1), "because", timedelta(seconds=30))
    await conn.execute(END_LEASES + " AND id = $1", again)
    assert await leased_ids(conn, "tried") == {again}
    await due.release(conn, leased, is_interrupted=False)
    rows = await conn.fetch("SELECT id, attempts FROM webhook_log WHERE attempts > 0")
    assert {tuple(row) for row in rows} == {(split, 1), (failed, 1), (again, 2)}


async def test_a_failed_change_is_leased_when_it_is_due_and_a_lease_is_valid_for_one_attempt(
    conn: Conn, ring: KeyRing
) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    [new] = await changes.insert(conn, ring, changes_of(webhook, make_change(1)))
    await changes.fail(conn, Lease(new.id, 1), "failed: for the test", timedelta(seconds=30))
    assert not await leased_ids(conn, "change")

    await conn.execute("UPDATE webhook_changes SET next_attempt_at = now()")
    assert (await due.lease(conn, "change")).leases == [Lease(new.id, 2)]
    assert not await leased_ids(conn, "change")
    assert await changes.load_leased(conn, Lease(new.id, 1)) is None
    loaded = await changes.load_leased(conn, Lease(new.id, 2))
    assert loaded is not None
    assert loaded.content is not None
    assert changes.open_content(ring, loaded.id, loaded.content) == b"{}"


async def test_only_unsplit_webhooks_are_loaded_marked_split_or_failed(
    conn: Conn, ring: KeyRing, waiting: set[UUID]
) -> None:
    split, dead, *rest = sorted(waiting)
    await webhooks.mark_split(conn, [split])
    assert await webhooks.fail(conn, Lease(dead, 1), "unparsable: not valid JSON", None)

    loaded = await webhooks.load_unsplit(conn, ring, sorted(waiting))
    assert [webhook.id for webhook, _ in loaded] == rest

    await webhooks.mark_split(conn, [dead])
    assert not await webhooks.fail(conn, Lease(split, 1), "too late", None)
    rows = await conn.fetch(
        "SELECT id, state, processed, last_error FROM webhook_log WHERE id = ANY($1) ORDER BY id",
        [split, dead],
    )
    assert [tuple(row) for row in rows] == [
        (split, "split", True, None),
        (dead, "dead", False, "unparsable: not valid JSON"),
    ]


@pytest.mark.parametrize("kind", ["tried", "change"])
async def test_released_rows_are_due_after_the_others(
    conn: Conn, ring: KeyRing, kind: LeaseKind
) -> None:
    for number in range(2):
        await _make_due(conn, ring, kind, number)
    leased = await lease(conn, kind)
    await due.release(conn, leased, is_interrupted=False)
    for table in ("webhook_log", "webhook_changes"):  # as if its wait were over
        await conn.execute(f"UPDATE {table} SET lease_until = lease_until - interval '1 min'")
    await conn.execute(
        "UPDATE webhook_changes SET next_attempt_at = next_attempt_at - interval '1 min'"
    )
    assert await leased_ids(conn, kind) != {row.id for row in leased.leases}


@pytest.mark.parametrize("kind", ["tried", "change", "follow_up"])
async def test_a_lease_of_one_row_takes_one_row_when_statistics_show_one(
    conn: Conn, ring: KeyRing, kind: LeaseKind
) -> None:
    """With `IN (... LIMIT 1)`, the planner then ran the subquery again for every row."""
    await _make_due(conn, ring, kind, 0)
    await conn.execute("ANALYZE webhook_log, webhook_changes, follow_ups")
    for number in range(1, 20):
        await _make_due(conn, ring, kind, number)
    assert len((await lease(conn, kind)).leases) == 1


async def _make_due(conn: Conn, ring: KeyRing, kind: LeaseKind, number: int) -> None:
    if kind == "follow_up":
        await follow_ups.add(conn, "read", [str(number)])
        return
    webhook = make_webhook()
    state: WebhookState = "unsplit" if kind == "tried" else "split"
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state=state)])
    if kind == "tried":
        await webhooks.fail(conn, Lease(webhook.id, 1), "because", timedelta(seconds=-1))
    else:
        [new] = await changes.insert(conn, ring, changes_of(webhook, make_change(number)))
        await changes.fail(conn, Lease(new.id, 1), "because", timedelta(seconds=-1))


async def test_a_void_lease_fails_no_row(conn: Conn, waiting: set[UUID]) -> None:
    id_ = min(waiting)
    await conn.execute("UPDATE webhook_log SET attempts = 2 WHERE id = $1", id_)
    assert not await webhooks.fail(conn, Lease(id_, 1), "late", timedelta(seconds=30))
    assert await webhooks.fail(conn, Lease(id_, 2), "in time", timedelta(seconds=30))
    assert id_ not in await leased_ids(conn)


async def test_a_follow_up_that_rests_holds_back_no_other_of_its_subject(conn: Conn) -> None:
    await follow_ups.add(conn, "read", ["71"])
    leased = await due.lease_follow_up(conn, ["read", "disconnect"])
    await follow_ups.add(conn, "disconnect", ["71"])
    assert not (await due.lease_follow_up(conn, ["read", "disconnect"])).leases
    await due.release(conn, leased, is_interrupted=True)
    [other] = (await due.lease_follow_up(conn, ["read", "disconnect"])).leases
    kind = "SELECT kind::text FROM follow_ups WHERE id = $1"
    assert await conn.fetchval(kind, other.id) == "disconnect"


async def test_each_interruption_doubles_the_rest_of_a_row_up_to_ten_minutes(
    conn: Conn, waiting: set[UUID]
) -> None:
    rests = []
    for kind in ("fresh", *["tried"] * 12):
        async with conn.transaction():
            leased = await lease(conn, cast("LeaseKind", kind))
            await due.release(conn, leased, is_interrupted=True)
            id_ = leased.leases[0].id
            left = "SELECT lease_until - now() FROM webhook_log WHERE id = $1"
            rests.append(await conn.fetchval(left, id_))
        await conn.execute(
            "UPDATE webhook_log SET lease_until = now() + CASE WHEN id = $1"
            " THEN interval '-1 s' ELSE interval '1 hour' END",
            id_,
        )
    seconds = [round(rest.total_seconds()) for rest in rests]
    assert seconds == [3, 6, 12, 24, 48, 96, 192, 384, *[600] * 5]
