"""Whose a connection is and how it stands, in whatever order it was told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.actions.connection_state import apply_effects, recompute, record_proof
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, live_facts
from shared.store.connections import connections, onboardings, organizations, views
from shared.store.connections.onboardings import NewOnboarding
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn, Pool, transaction
from tests.support.crosswise import write_crosswise
from tests.support.samples import make_arrival, make_change, make_webhook, of

WABA = "210000000000010"
BUSINESS = "220000000000020"
START = datetime(2026, 11, 1, tzinfo=UTC)
SNAPSHOT = """
    SELECT 'connection', waba_id, organization_id, attribution::text, state::text, reason,
           owner_business_id, NULL::timestamptz
    FROM whatsapp_connections
    UNION ALL SELECT 'fact', waba_id, digits, name, value, NULL, NULL, at FROM connection_facts
    UNION ALL SELECT 'onboarding', tracking_code, organization_id, state::text, waba_id, NULL, NULL,
           proven_at FROM whatsapp_onboarding
    UNION ALL SELECT 'business', organization_id, business_id, NULL, NULL, NULL, NULL, NULL
    FROM organization_businesses
    ORDER BY 1, 2, 3, 4
"""
Step = Callable[[Conn], Awaitable[object]]


def told(*facts: Fact, waba: str = WABA, owner: str | None = None, code: str | None = None) -> Step:
    owned = [Fact("owner_business", owner, facts[0].at)] if owner else []
    effects = ChangeEffects(waba, (*facts, *owned), tracking_code=code)
    return lambda conn: apply_effects(conn, [effects])


def added(at: datetime, waba: str = WABA, code: str | None = None) -> Step:
    return told(*live_facts(at), waba=waba, owner=BUSINESS, code=code)


def proven(at: datetime, code: str = "code-ana", waba: str = WABA) -> Step:
    return lambda conn: record_proof(conn, code, waba, BUSINESS, at)


STEPS: list[Callable[[datetime], Step]] = [
    proven,
    added,
    lambda at: told(*live_facts(at), owner=BUSINESS),
    lambda at: told(Fact("shared", "unshared", at), owner=BUSINESS),
    lambda at: told(Fact("ban", "disabled", at)),
    lambda at: told(Fact("ban", "none", at)),
    lambda at: told(Fact("phone_link", "offboarded", at)),
    lambda at: told(Fact("phone_link", "linked", at)),
    lambda at: told(Fact("phone_link", "change_number", at)),
    lambda at: told(Fact("app", "uninstalled", at)),
]
TIMES = st.lists(st.integers(0, 4), min_size=len(STEPS), max_size=len(STEPS))


async def organization(conn: Conn, name: str, *businesses: str) -> None:
    """With an open onboarding whose tracking code is `code-<name>`."""
    await organizations.add(conn, name)
    for business in businesses:
        await organizations.add_business(conn, name, business)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, NewOnboarding(name, f"code-{name}", expires_at))


async def cancel_onboardings(conn: Conn) -> None:
    await conn.execute("UPDATE whatsapp_onboarding SET state = 'cancelled'")


async def ending(conn: Conn, steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    """The rows these steps end in; nothing of them stays."""
    under_way = conn.transaction()
    await under_way.start()
    try:
        for step in steps:
            await step(conn)
        await recompute(conn, await connections.without_owner(conn, limit=10))
        return [tuple(record) for record in await conn.fetch(SNAPSHOT)]
    finally:
        await under_way.rollback()


async def owner(conn: Conn, waba: str = WABA) -> tuple[Any, ...]:
    record = await conn.fetchrow(
        "SELECT organization_id, attribution FROM whatsapp_connections WHERE waba_id = $1", waba
    )
    assert record is not None
    return tuple(record)


async def events(conn: Conn) -> list[tuple[str, str]]:
    records = await conn.fetch("SELECT organization_id, type FROM events ORDER BY id")
    return [tuple(record) for record in records]


@pytest.mark.parametrize("known", [(), (BUSINESS,)])
async def test_every_order_and_doubling_ends_in_the_same_rows(
    conn: Conn, known: tuple[str, ...]
) -> None:
    """Also where another organization owns the business, so is the owner until the proof comes."""
    await organization(conn, "bia", *known)
    await cancel_onboardings(conn)
    await organization(conn, "ana")
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(TIMES, st.permutations(range(len(STEPS))), st.lists(st.integers(0, 8), max_size=4))
    def holds(times: list[int], order: list[int], doubled: list[int]) -> None:
        steps = [make(START + timedelta(seconds=at)) for make, at in zip(STEPS, times, strict=True)]
        told = [steps[place] for place in order]
        for place in doubled:
            told.insert((place * 7) % len(told), steps[place])

        async def compare() -> None:
            assert await ending(conn, told) == await ending(conn, steps)

        asyncio.run_coroutine_threadsafe(compare(), loop).result(60)

    await asyncio.to_thread(holds)


async def test_a_tracking_code_joins_its_onboarding_twice_in_a_row(conn: Conn) -> None:
    await organization(conn, "ana")
    for second in range(2):
        await added(START + timedelta(seconds=second), code="code-ana")(conn)
    assert await owner(conn) == ("ana", "tracking_code")
    onboarding = await conn.fetchrow("SELECT state, waba_id, proven_at FROM whatsapp_onboarding")
    assert onboarding is not None
    assert tuple(onboarding) == ("completed", WABA, START)
    assert await events(conn) == [("ana", "connection.provisioning")]


async def test_an_onboarding_proves_one_waba(conn: Conn) -> None:
    await organization(conn, "ana")
    await proven(START)(conn)
    await added(START, waba="219999999999999", code="code-ana")(conn)
    assert await owner(conn, "219999999999999") != ("ana", "tracking_code")


async def test_the_only_owner_of_the_business_is_a_provisional_owner(conn: Conn) -> None:
    await organization(conn, "ana", BUSINESS)
    await added(START)(conn)
    assert await owner(conn) == ("ana", "owner_business")


async def test_two_owners_of_one_business_are_candidates_and_no_guess(conn: Conn) -> None:
    for name in ("ana", "bia"):
        await organization(conn, name, BUSINESS)
    await added(START)(conn)
    assert await owner(conn) == (None, "several_owners")
    [orphan] = await views.orphans(conn)
    assert (orphan.waba_id, orphan.candidates) == (WABA, ["ana", "bia"])
    assert await events(conn) == []


async def test_while_another_is_onboarding_nothing_is_decided(conn: Conn) -> None:
    await organization(conn, "ana", BUSINESS)
    await organization(conn, "bia")
    await added(START)(conn)
    assert await owner(conn) == (None, "another_onboarding")

    await cancel_onboardings(conn)
    await recompute(conn, await connections.without_owner(conn, limit=10))
    assert await owner(conn) == ("ana", "owner_business")


async def test_a_proof_makes_its_organization_owner_of_the_business_s_other_wabas(
    conn: Conn,
) -> None:
    await organization(conn, "ana")
    await added(START, waba="219999999999999")(conn)
    await proven(START)(conn)
    await recompute(conn, await connections.without_owner(conn, limit=10))
    assert await owner(conn, "219999999999999") == ("ana", "owner_business")


async def test_a_proof_takes_over_a_provisional_owner_who_learns_no_more_than_that(
    conn: Conn,
) -> None:
    await organization(conn, "bia", BUSINESS)
    await added(START)(conn)
    await organization(conn, "ana")
    await proven(START)(conn)
    assert await owner(conn) == ("ana", "tracking_code")
    assert sorted(await events(conn)) == [
        ("ana", "connection.provisioning"),
        ("bia", "connection.lost"),
        ("bia", "connection.provisioning"),
    ]
    lost = await conn.fetchval("SELECT data::text FROM events WHERE type = 'connection.lost'")
    assert "ana" not in lost


async def test_of_two_facts_at_once_the_takedown_holds(conn: Conn) -> None:
    for value in ("linked", "change_number", "linked"):
        await told(Fact("phone_link", value, START))(conn)
    state = await conn.fetchrow("SELECT state::text, reason FROM whatsapp_connections")
    assert state is not None
    assert tuple(state) == ("disconnected", "change_number")


async def test_of_two_proofs_the_first_holds(conn: Conn) -> None:
    await organization(conn, "ana")
    await organization(conn, "bia")
    await proven(START)(conn)
    await proven(START - timedelta(days=1), code="code-bia")(conn)
    assert await owner(conn) == ("ana", "tracking_code")


async def test_a_real_transition_alone_makes_an_event(conn: Conn) -> None:
    await organization(conn, "ana")
    await proven(START)(conn)
    later = START + timedelta(days=1)
    for _ in range(3):
        await told(Fact("shared", "unshared", later))(conn)
    await told(Fact("review", "approved", later))(conn)
    await added(START + timedelta(days=2))(conn)
    assert await events(conn) == [
        ("ana", "connection.provisioning"),
        ("ana", "connection.disconnected"),
        ("ana", "connection.provisioning"),
    ]
    revisions = await conn.fetch("SELECT revision FROM events ORDER BY id")
    assert [record["revision"] for record in revisions] == [2, 3, 4]


async def test_changes_go_to_a_proven_owner_alone(conn: Conn, ring: KeyRing) -> None:
    await organization(conn, "bia", BUSINESS)
    await added(START)(conn)
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_arrival(webhook, state="split")])
    await changes.insert(conn, ring, of(webhook, make_change(1)))
    assert await changes.stamp(conn, limit=10) == 0  # a provisional owner sees no content

    await organization(conn, "ana")
    await proven(START)(conn)
    await changes.insert(conn, ring, of(webhook, make_change(2)))
    assert await changes.stamp(conn, limit=10) == 1
    owners = await conn.fetch("SELECT organization_id FROM webhook_changes")
    assert {record["organization_id"] for record in owners} == {"ana"}


async def test_the_same_wabas_in_opposite_order(pool: Pool, conn: Conn) -> None:
    """Groups that touch the same connections wait for each other, never in a circle."""
    await organization(conn, "ana")
    effects_of_changes = [
        ChangeEffects(f"21{number:013}", (Fact("shared", "unshared", START),))
        for number in range(100)
    ]

    async def write(conn: Conn, some: Sequence[ChangeEffects]) -> int:
        await apply_effects(conn, some)
        return len(some)

    assert await write_crosswise(pool, effects_of_changes, write) == 2 * len(effects_of_changes)
    async with transaction(pool) as tx:
        states = await tx.fetch("SELECT DISTINCT state FROM whatsapp_connections")
    assert [record["state"] for record in states] == ["disconnected"]
