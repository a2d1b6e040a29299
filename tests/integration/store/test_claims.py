"""Claiming what waits to be split: each try is counted before it begins, and nobody shares one."""

from uuid import UUID

import pytest

from shared.crypto import KeyRing
from shared.store import webhooks
from shared.store.pool import Connection, Pool, transaction
from shared.store.webhooks import LEASE, MAX_ATTEMPTS
from tests.integration.store.samples import make_arrival

LAPSE = "UPDATE webhook_log SET lease_until = now() - interval '1 second' WHERE attempts > 0"


@pytest.fixture
async def waiting(conn: Connection, ring: KeyRing) -> set[UUID]:
    """Ten webhooks nobody tried yet; beside them one that is split and one that is dead."""
    await webhooks.insert(conn, ring, [make_arrival(state="split"), make_arrival(state="dead")])
    return await webhooks.insert(conn, ring, [make_arrival() for _ in range(10)])


async def claim(conn: Connection, *, first_tries: bool = True, limit: int = 100) -> set[UUID]:
    return set(await webhooks.claim_unsplit(conn, first_tries=first_tries, limit=limit))


async def test_a_claim_counts_the_try_and_holds_a_lease(
    conn: Connection, waiting: set[UUID]
) -> None:
    async with conn.transaction():
        claimed = await claim(conn, limit=3)
        rows = await conn.fetch(
            "SELECT id, attempts, lease_until - now() AS lease FROM webhook_log WHERE attempts > 0"
        )
    assert {row["id"]: (row["attempts"], row["lease"]) for row in rows} == dict.fromkeys(
        claimed, (1, LEASE)
    )
    assert len(claimed) == 3
    assert claimed <= waiting
    assert await claim(conn) == waiting - claimed
    assert await claim(conn) == set()


async def test_two_claimers_at_once_share_nothing_and_do_not_wait(
    pool: Pool, waiting: set[UUID]
) -> None:
    async with transaction(pool) as one, transaction(pool) as other:
        first = await claim(one, limit=6)
        second = await claim(other, limit=6)
        assert first | second == waiting
        assert (len(first), len(second)) == (6, 4)


async def test_first_tries_and_lapsed_leases_are_claimed_apart(
    conn: Connection, waiting: set[UUID]
) -> None:
    tried = await claim(conn, limit=3)
    assert await claim(conn, first_tries=False) == set()

    await conn.execute(LAPSE)
    assert await claim(conn) == waiting - tried
    assert await claim(conn, first_tries=False) == tried
    assert await claim(conn, first_tries=False) == set()


async def test_a_claim_handed_back_is_a_first_try_again(
    conn: Connection, waiting: set[UUID]
) -> None:
    before = await conn.fetch("SELECT webhook_log::text FROM webhook_log ORDER BY id")
    claimed = await claim(conn)
    await webhooks.hand_back(conn, claimed)
    assert await conn.fetch("SELECT webhook_log::text FROM webhook_log ORDER BY id") == before
    assert await claim(conn) == claimed


async def test_handing_back_what_was_split_meanwhile_changes_nothing(
    conn: Connection, waiting: set[UUID]
) -> None:
    claimed = await claim(conn)
    await webhooks.mark_split(conn, claimed)
    await webhooks.hand_back(conn, claimed)
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE attempts = 1") == 10
    assert await claim(conn) == set()


async def test_what_was_claimed_four_times_and_never_finished_is_buried(
    conn: Connection, waiting: set[UUID]
) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert await webhooks.bury_exhausted(conn) == []
        assert await claim(conn, first_tries=attempt == 1) == waiting
        assert await webhooks.bury_exhausted(conn) == []  # its last try still holds a lease
        await conn.execute(LAPSE)

    assert set(await webhooks.bury_exhausted(conn)) == waiting
    assert await webhooks.bury_exhausted(conn) == []
    assert await claim(conn, first_tries=False) == set()
    rows = await conn.fetch(
        "SELECT processed, last_error FROM webhook_log WHERE id = ANY($1)", list(waiting)
    )
    assert {tuple(row) for row in rows} == {(False, "never finished being split")}


async def test_only_what_is_still_unsplit_is_loaded_marked_or_killed(
    conn: Connection, ring: KeyRing, waiting: set[UUID]
) -> None:
    split, dead, *rest = sorted(waiting)
    await webhooks.mark_split(conn, [split])
    await webhooks.mark_dead(conn, dead, "unparsable: not valid JSON")

    loaded = await webhooks.load_unsplit(conn, ring, sorted(waiting))
    assert [webhook.id for webhook, _ in loaded] == rest

    await webhooks.mark_split(conn, [dead])
    await webhooks.mark_dead(conn, split, "too late")
    rows = await conn.fetch(
        "SELECT id, state, processed, last_error FROM webhook_log WHERE id = ANY($1) ORDER BY id",
        [split, dead],
    )
    assert [tuple(row) for row in rows] == [
        (split, "split", True, None),
        (dead, "dead", False, "unparsable: not valid JSON"),
    ]
