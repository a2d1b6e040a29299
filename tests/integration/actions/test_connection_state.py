"""A connection's owner and status are the same in whatever order its facts and proofs arrive."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.actions.connection_state import decide_again, recompute
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, live_facts
from shared.store.connections import connections, onboardings, organizations, views
from shared.store.connections.onboardings import NewOnboarding
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn, Pool, transaction
from tests.support.crosswise import write_in_opposite_order
from tests.support.keys import TOKEN_RING
from tests.support.ownership import name_waba, prove, report
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

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
    FROM business_owners
    UNION ALL SELECT 'era', waba_id, organization_id, basis, end_reason,
           CASE WHEN suspended_at IS NOT NULL THEN 'suspended' END, NULL, proven_at
    FROM connection_eras
    ORDER BY 1, 2, 3, 4
"""
Step = Callable[[Conn], Awaitable[object]]


def facts_step(
    *facts: Fact, waba: str = WABA, owner: str | None = None, code: str | None = None
) -> Step:
    owned = [Fact("owner_business", owner, facts[0].at)] if owner else []
    effects = ChangeEffects(waba, (*facts, *owned), tracking_code=code)
    return lambda conn: report(conn, effects)


def shared_step(at: datetime, waba: str = WABA, code: str | None = None) -> Step:
    return facts_step(*live_facts(at), waba=waba, owner=BUSINESS, code=code)


def proof_step(at: datetime, code: str = "code-ana", waba: str = WABA) -> Step:

    return lambda conn: prove(conn, code, waba, BUSINESS, at)


STEPS: list[Callable[[datetime], Step]] = [
    proof_step,
    shared_step,
    lambda at: facts_step(*live_facts(at), owner=BUSINESS),
    lambda at: facts_step(Fact("shared", "unshared", at), owner=BUSINESS),
    lambda at: facts_step(Fact("ban", "disabled", at)),
    lambda at: facts_step(Fact("ban", "none", at)),
    lambda at: facts_step(Fact("phone_link", "offboarded", at)),
    lambda at: facts_step(Fact("phone_link", "linked", at)),
    lambda at: facts_step(Fact("phone_link", "change_number", at)),
    lambda at: facts_step(Fact("app", "uninstalled", at)),
]
TIMES = st.lists(st.integers(0, 4), min_size=len(STEPS), max_size=len(STEPS))


async def add_organization(conn: Conn, name: str, *businesses: str) -> None:
    """Add an organization with an open onboarding whose tracking code is `code-<name>`."""
    await organizations.add(conn, name)
    for business in businesses:
        await organizations.add_business(conn, name, business)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding(name, f"code-{name}", expires_at))


async def cancel_onboardings(conn: Conn) -> None:
    await conn.execute("UPDATE whatsapp_onboarding SET state = 'cancelled'")


async def rows_after(conn: Conn, steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    """Return the rows that these steps lead to. Roll the steps back."""
    tx = conn.transaction()
    await tx.start()
    try:
        for step in steps:
            await step(conn)
        await recompute_due(conn)
        return [tuple(record) for record in await conn.fetch(SNAPSHOT)]
    finally:
        await tx.rollback()


async def recompute_due(conn: Conn) -> None:
    """Recompute the connections that have a follow-up which says so."""
    due = await conn.fetch("SELECT subject FROM follow_ups WHERE kind = 'attribute'")
    await recompute(conn, await connections.lock(conn, [row["subject"] for row in due]))


async def owner_of(conn: Conn, waba: str = WABA) -> tuple[Any, ...]:
    record = await conn.fetchrow(
        "SELECT organization_id, attribution FROM whatsapp_connections WHERE waba_id = $1", waba
    )
    assert record is not None
    return tuple(record)


async def events(conn: Conn) -> list[tuple[str, str]]:
    records = await conn.fetch("SELECT organization_id, type FROM events ORDER BY id")
    return [tuple(record) for record in records]


@pytest.mark.parametrize("businesses", [(), (BUSINESS,)])
async def test_every_order_and_repetition_ends_in_the_same_rows(
    conn: Conn, businesses: tuple[str, ...]
) -> None:
    """Also if another organization owns the business and is provisional owner until the proof."""
    await add_organization(conn, "bia", *businesses)
    await cancel_onboardings(conn)
    await add_organization(conn, "ana")
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(TIMES, st.permutations(range(len(STEPS))), st.lists(st.integers(0, 8), max_size=4))
    def assert_same_rows(times: list[int], order: list[int], repeated: list[int]) -> None:
        steps = [make(START + timedelta(seconds=at)) for make, at in zip(STEPS, times, strict=True)]
        shuffled = [steps[index] for index in order]
        for index in repeated:
            shuffled.insert((index * 7) % len(shuffled), steps[index])

        async def compare() -> None:
            assert await rows_after(conn, shuffled) == await rows_after(conn, steps)

        asyncio.run_coroutine_threadsafe(compare(), loop).result(60)

    await asyncio.to_thread(assert_same_rows)


async def test_a_repeated_tracking_code_completes_its_onboarding_once(conn: Conn) -> None:
    await add_organization(conn, "ana")
    for second in range(2):
        await shared_step(START + timedelta(seconds=second), code="code-ana")(conn)
    assert await owner_of(conn) == ("ana", "tracking_code")
    onboarding = await conn.fetchrow("SELECT state, waba_id, proven_at FROM whatsapp_onboarding")
    assert onboarding is not None
    assert tuple(onboarding) == ("completed", WABA, START)
    assert await events(conn) == [("ana", "connection.provisioning")]


async def test_an_onboarding_proves_one_waba(conn: Conn) -> None:
    await add_organization(conn, "ana")
    await proof_step(START)(conn)
    await shared_step(START, waba="219999999999999", code="code-ana")(conn)
    assert await owner_of(conn, "219999999999999") != ("ana", "tracking_code")


async def test_the_only_owner_of_the_business_is_a_provisional_owner(conn: Conn) -> None:
    await add_organization(conn, "ana", BUSINESS)
    await shared_step(START)(conn)
    assert await owner_of(conn) == ("ana", "owner_business")


async def test_two_owners_of_one_business_make_an_orphan_with_two_candidates(conn: Conn) -> None:
    for name in ("ana", "bia"):
        await add_organization(conn, name, BUSINESS)
    await shared_step(START)(conn)
    assert await owner_of(conn) == (None, "several_owners")
    [orphan] = await views.orphans(conn)
    assert (orphan.waba_id, orphan.candidates) == (WABA, ["ana", "bia"])
    assert await events(conn) == []


@pytest.mark.parametrize("named", [[WABA], ["210000000000099", WABA]])
async def test_no_provisional_owner_is_chosen_while_another_organization_onboards_this_waba(
    conn: Conn, named: list[str]
) -> None:
    await add_organization(conn, "ana", BUSINESS)
    await add_organization(conn, "bia")
    await shared_step(START)(conn)
    assert await owner_of(conn) == ("ana", "owner_business")  # bia's names no WABA

    await name_waba(conn, "code-bia", *named)
    await decide_again(conn, [WABA], [])
    await recompute_due(conn)
    assert await owner_of(conn) == (None, "another_onboarding")

    await cancel_onboardings(conn)
    await recompute_due(conn)
    assert await owner_of(conn) == ("ana", "owner_business")


async def test_a_proof_makes_its_organization_provisional_owner_of_the_business_s_other_wabas(
    conn: Conn,
) -> None:
    await add_organization(conn, "ana")
    await shared_step(START, waba="219999999999999")(conn)
    await proof_step(START)(conn)
    await recompute_due(conn)
    assert await owner_of(conn, "219999999999999") == ("ana", "owner_business")


async def test_a_proof_replaces_a_provisional_owner_without_naming_the_new_owner(
    conn: Conn,
) -> None:
    await add_organization(conn, "bia", BUSINESS)
    await shared_step(START)(conn)
    await add_organization(conn, "ana")
    await proof_step(START)(conn)
    assert await owner_of(conn) == ("ana", "tracking_code")
    assert sorted(await events(conn)) == [
        ("ana", "connection.provisioning"),
        ("bia", "connection.lost"),
        ("bia", "connection.provisioning"),
    ]
    lost = await conn.fetchval("SELECT data::text FROM events WHERE type = 'connection.lost'")
    assert "ana" not in lost


async def test_of_two_facts_with_the_same_time_the_takedown_wins(conn: Conn) -> None:
    for value in ("linked", "change_number", "linked"):
        await facts_step(Fact("phone_link", value, START))(conn)
    state = await conn.fetchrow("SELECT state::text, reason FROM whatsapp_connections")
    assert state is not None
    assert tuple(state) == ("disconnected", "change_number")


async def test_of_two_proofs_the_first_recorded_wins(conn: Conn) -> None:
    await add_organization(conn, "ana")
    await add_organization(conn, "bia")
    await proof_step(START)(conn)
    await proof_step(START - timedelta(days=1), code="code-bia")(conn)
    assert await owner_of(conn) == ("ana", "tracking_code")


async def test_only_a_real_transition_makes_an_event(conn: Conn) -> None:
    await add_organization(conn, "ana")
    await proof_step(START)(conn)
    later = START + timedelta(days=1)
    for _ in range(3):
        await facts_step(Fact("shared", "unshared", later))(conn)
    await facts_step(Fact("review", "approved", later))(conn)
    await shared_step(START + timedelta(days=2))(conn)
    assert await events(conn) == [
        ("ana", "connection.provisioning"),
        ("ana", "connection.disconnected"),
        ("ana", "connection.provisioning"),
    ]
    revisions = await conn.fetch("SELECT revision FROM events ORDER BY id")
    assert [record["revision"] for record in revisions] == [2, 3, 4]


async def test_only_a_proven_owner_gets_changes(conn: Conn, ring: KeyRing) -> None:
    await add_organization(conn, "bia", BUSINESS)
    await shared_step(START)(conn)
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    await changes.insert(conn, ring, changes_of(webhook, make_change(1)))
    assert await changes.assign(conn, WABA, limit=10) == 0  # a provisional owner gets no content

    await add_organization(conn, "ana")
    await proof_step(START)(conn)
    await changes.insert(conn, ring, changes_of(webhook, make_change(2)))
    assert await changes.assign(conn, WABA, limit=10) == 1
    owners = await conn.fetch("SELECT organization_id FROM webhook_changes")
    assert {record["organization_id"] for record in owners} == {"ana"}


async def test_the_same_wabas_in_opposite_order(pool: Pool, conn: Conn) -> None:
    """Groups that lock the same connections wait for each other, without a deadlock."""
    await add_organization(conn, "ana")
    all_effects = [
        ChangeEffects(f"21{number:013}", (Fact("shared", "unshared", START),))
        for number in range(100)
    ]

    async def write(conn: Conn, effects: Sequence[ChangeEffects]) -> int:
        await report(conn, *effects)
        return len(effects)

    assert await write_in_opposite_order(pool, all_effects, write) == 2 * len(all_effects)
    async with transaction(pool) as tx:
        states = await tx.fetch("SELECT DISTINCT state FROM whatsapp_connections")
    assert [record["state"] for record in states] == ["disconnected"]
