"""Eras when two transactions meet, and when what ends or resumes them fails."""

import asyncio
from datetime import timedelta
from typing import cast

from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.processor.follow_ups.context import FollowUpHandler, StepOutcome
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.follow_ups.read import is_awaited
from services.processor.follow_ups.worker import FollowUpWorker
from shared.actions import connection_reads, disconnection, ownership
from shared.actions.connection_state import record_facts
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, live_facts
from shared.domain.provisioning import Blocked
from shared.domain.remedies import BY_US
from shared.graph.client import Graph
from shared.store.audit import Requester
from shared.store.connections import (
    connections,
    eras,
    follow_ups,
    onboardings,
    organizations,
)
from shared.store.connections.follow_ups import FollowUp
from shared.store.connections.onboardings import NewOnboarding
from shared.store.intake.webhooks import LanedWebhook
from shared.store.pool import Conn, Pool, now, transaction
from tests.support.eras import (
    CODE,
    A,
    B,
    ValidTokens,
    find_era,
    intake,
    is_lock_awaited,
    own,
    take_down,
)
from tests.support.keys import TOKEN_RING
from tests.support.ownership import prove, report, store_message
from tests.support.samples import make_webhook
from tests.support.sending import WABA, account_update, message
from tests.support.tokens import save_token
from tests.support.waiting import eventually


async def test_a_read_of_meta_keeps_no_change_from_its_owner(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    era = await own(conn)
    async with transaction(pool) as reading:
        [row] = await connections.lock(reading, [WABA])
        await ownership.confirm(reading, row, era, await now(reading))
        change = await store_message(conn, ring, WABA, at=await now(conn))
    assert change.organization_id == A


async def test_a_change_that_is_stored_while_its_era_resumes_is_given_later(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    await own(conn)
    era = await take_down(conn)
    await conn.execute("UPDATE follow_ups SET state = 'done', ended_at = now()")
    async with transaction(pool) as reading:
        [row] = await connections.lock(reading, [WABA])
        await ownership.confirm(reading, row, era, await now(reading))
        change = await store_message(conn, ring, WABA, at=await now(conn))
    assert change.organization_id is None
    assert await conn.fetchval("SELECT true FROM follow_ups WHERE kind = 'attribute'")


async def test_webhooks_and_the_end_of_an_era_do_not_deadlock(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    """A group locks the connections that it changes before it shares any era."""
    era = await own(conn)
    groups = intake(pool, ring)
    bodies = [write(message(1)), write(account_update("PARTNER_REMOVED"))]
    group = [LanedWebhook(make_webhook(body), "fast") for body in bodies]
    async with transaction(pool) as ending:
        [row] = await connections.lock(ending, [WABA])
        storing = asyncio.create_task(groups.store(group))
        await eventually(lambda: is_lock_awaited(conn))
        await ownership.end(ending, row, era, "released")
    await asyncio.wait_for(storing, 20)
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 2


async def test_groups_of_the_same_changes_in_which_one_ends_the_era_do_not_deadlock(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    """One group has shared the era and waits for a change that the other stores first."""
    await own(conn)
    groups = intake(pool, ring)
    takedown, both = write(account_update("PARTNER_REMOVED")), write(message(1))
    async with transaction(pool) as other:
        await eras.lock(other, [WABA])
        storing = asyncio.create_task(
            groups.store([LanedWebhook(make_webhook(body), "fast") for body in (takedown, both)])
        )
        await eventually(lambda: is_lock_awaited(conn))
        stored = await conn.fetchval(
            # Of this database: all are copies of one, so their tables have the same ids.
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND mode = 'RowExclusiveLock'"
            " AND relation = 'webhook_changes'::regclass"
        )
        assert stored == 0  # it waits before it stores any change
    await asyncio.wait_for(storing, 20)


async def test_what_a_suspended_era_holds_waits_for_no_person(pool: Pool, conn: Conn) -> None:
    """The read that decides is attempted again, whatever stopped it."""

    async def refuse(_: FollowUp) -> StepOutcome:
        return Blocked("app_token_refused")

    await own(conn)
    await take_down(conn)
    worker = FollowUpWorker(
        pool,
        {"read": FollowUpHandler(refuse, is_awaited=is_awaited)},
        (30, 300, 1800),
        FollowUpMetrics(CollectorRegistry()),
    )
    state = "SELECT state::text, reason, attempts, due_at > now() FROM follow_ups WHERE kind='read'"
    for attempts in (0, 100):
        await conn.execute("UPDATE follow_ups SET due_at = now(), attempts = $1", attempts)
        assert await worker.work_once()
        reason = "app_token_refused" if attempts == 0 else "never_finished"
        assert tuple((await conn.fetch(state))[0]) == ("pending", reason, 0, True)

    async with conn.transaction():
        await ownership.release(conn, WABA, Requester("eva", "they left"))
        await follow_ups.add(conn, "read", [WABA])
    assert await worker.work_once()
    assert (await conn.fetch(state))[0]["state"] == "blocked"


async def test_our_disconnect_ends_the_era_at_once(conn: Conn, ring: KeyRing) -> None:
    await own(conn)
    async with conn.transaction():
        await disconnection.request(
            conn, WABA, organization_id=None, requester=Requester("eva", "they left")
        )
    assert await eras.open_era(conn, WABA) is None
    assert (await store_message(conn, ring, WABA, at=await now(conn))).organization_id is None


async def test_a_claim_after_our_disconnect_can_be_disconnected(conn: Conn) -> None:
    await own(conn)
    async with conn.transaction():
        await disconnection.request(
            conn, WABA, organization_id=None, requester=Requester("eva", "they left")
        )
        [row] = await connections.lock(conn, [WABA])
        await record_facts(conn, row, [Fact("app", BY_US, await now(conn))])
        await conn.execute("UPDATE follow_ups SET state = 'done', ended_at = now()")
    await organizations.add(conn, B)
    async with conn.transaction():
        await ownership.claim(conn, WABA, B, Requester("eva", "they called"))
        await disconnection.request(
            conn, WABA, organization_id=None, requester=Requester("eva", "a mistake")
        )
    assert [era.end_reason for era in await eras.history(conn, WABA)] == ["disconnected"] * 2


async def test_the_tracking_code_of_a_webhook_proves_one_era(conn: Conn) -> None:
    await own(conn)
    at = await now(conn)
    again = ChangeEffects(WABA, tuple(live_facts(at)), tracking_code=CODE)
    async with conn.transaction():
        await report(conn, again)  # in whatever order they come
        [row] = await connections.lock(conn, [WABA])
        await ownership.end(conn, row, await find_era(conn), "released")
        await report(conn, again)
        await report(conn, ChangeEffects(WABA, tracking_code="unknown"))
    assert await eras.open_era(conn, WABA) is None


async def test_the_end_of_an_era_is_told_once_and_its_setup_is_not_inherited(conn: Conn) -> None:
    await own(conn)
    async with conn.transaction():
        [row] = await connections.lock(conn, [WABA])
        await record_facts(conn, row, [Fact("setup", "complete", await now(conn))])
        await ownership.release(conn, WABA, Requester("eva", "they left"))
    await organizations.add(conn, B)
    await onboardings.start(
        conn, TOKEN_RING, NewOnboarding(B, "code-2", await now(conn) + timedelta(hours=1))
    )
    async with conn.transaction():
        await prove(conn, "code-2", WABA, None, await now(conn) + timedelta(seconds=1))
    told = await conn.fetch("SELECT organization_id, type FROM events ORDER BY id")
    assert [tuple(event) for event in told] == [
        (A, "connection.provisioning"),
        (A, "connection.active"),
        (A, "connection.lost"),
        (B, "connection.provisioning"),
    ]


async def test_the_answer_about_an_old_token_ends_no_renewed_era(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    """B's login asks Meta whether A still reaches the WABA. Meanwhile A logs in once more."""
    await own(conn)
    await save_token(conn, ring, WABA, "old")

    async def answer(*_: object) -> str:
        await save_token(conn, ring, WABA, "new")
        return "unreachable"

    monkeypatch.setattr(connection_reads, "_reach", answer)
    graph = cast("Graph", ValidTokens())
    await connection_reads.read_connection(pool, ring, graph, WABA, is_contested=True)
    assert (await find_era(conn)).organization_id == A
