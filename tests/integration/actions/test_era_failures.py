"""Eras when a transaction is rolled back, a worker is killed, or two organizations log in."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.processor.follow_ups import disconnect as disconnecting
from services.processor.follow_ups import prove as proving
from services.processor.follow_ups.context import FollowUpContext, FollowUpHandler
from services.processor.follow_ups.handlers import attribution_handlers
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.follow_ups.provision import provision
from services.processor.follow_ups.worker import FollowUpWorker
from shared.actions import connection_reads, disconnection, ownership
from shared.actions.connection_state import record_facts
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, live_facts
from shared.domain.numbers import PhoneNumber
from shared.graph.client import Graph
from shared.store.audit import Requester
from shared.store.connections import (
    connections,
    eras,
    follow_ups,
    numbers,
    onboardings,
    organizations,
)
from shared.store.connections.follow_ups import FollowUp, FollowUpKind
from shared.store.connections.onboardings import NewOnboarding
from shared.store.due import Lease
from shared.store.intake import changes
from shared.store.intake.webhooks import LanedWebhook
from shared.store.pool import Conn, Pool, now, transaction
from tests.support.eras import A, B, ValidTokens, find_era, intake, is_lock_awaited, own, take_down
from tests.support.keys import TOKEN_RING
from tests.support.ownership import name_waba, prove, report, store_message
from tests.support.samples import make_webhook
from tests.support.sending import WABA, message
from tests.support.tokens import save_token
from tests.support.waiting import eventually


class RolledBack(Exception):
    pass


OWNER = "SELECT organization_id FROM webhook_changes"


def worker(pool: Pool, handlers: Mapping[FollowUpKind, FollowUpHandler]) -> FollowUpWorker:
    return FollowUpWorker(pool, handlers, (30,), FollowUpMetrics(CollectorRegistry()))


async def assign(pool: Pool, conn: Conn) -> None:
    """Work on what is due, until nothing is."""
    attributing = worker(pool, attribution_handlers(pool))
    while await attributing.work_once():
        await conn.execute("UPDATE follow_ups SET due_at = now(), lease_until = '-infinity'")


def context(pool: Pool, ring: KeyRing, graph: object = None) -> FollowUpContext:
    return FollowUpContext(pool, ring, cast("Graph", graph or ValidTokens()), (30,))


async def start_of_b(conn: Conn) -> None:
    await organizations.add(conn, B)
    expires_at = await now(conn) + timedelta(hours=1)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding(B, "code-b", expires_at))


async def test_a_change_that_skipped_an_era_whose_end_is_rolled_back_reaches_its_owner(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    await own(conn)
    await assign(pool, conn)
    groups = intake(pool, ring)
    with pytest.raises(RolledBack):
        async with transaction(pool) as ending:
            await ownership.release(ending, WABA, Requester("eva", "a mistake"))
            webhook = make_webhook(write(message(1)))
            storing = asyncio.create_task(groups.store([LanedWebhook(webhook, "fast")]))
            await eventually(lambda: is_lock_awaited(conn))
            raise RolledBack
    await storing
    assert await conn.fetchval(OWNER) is None
    await assign(pool, conn)
    assert await conn.fetchval(OWNER) == A


@pytest.mark.parametrize("attempts", [1, 100])
async def test_what_is_owed_waits_for_no_person(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch, attempts: int
) -> None:
    await store_message(conn, ring, WABA, at=await now(conn))
    await own(conn)
    await conn.execute("UPDATE follow_ups SET attempts = $1", attempts)

    async def fail(*_: object, **__: object) -> int:
        raise ValueError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(changes, "assign", fail)
        attributing = worker(pool, attribution_handlers(pool))
        for _ in range(3):
            await conn.execute("UPDATE follow_ups SET due_at = now(), lease_until = '-infinity'")
            assert await attributing.work_once()
    await conn.execute("UPDATE follow_ups SET due_at = now()")
    await assign(pool, conn)
    assert await conn.fetchval(OWNER) == A


async def test_a_waba_unshared_and_shared_again_at_once_is_set_up_again(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    await own(conn)
    await save_token(conn, ring, WABA, "a")
    async with conn.transaction():
        [row] = await connections.lock(conn, [WABA])
        await record_facts(conn, row, [Fact("setup", "complete", await now(conn))])
    await take_down(conn)
    async with conn.transaction():
        at = await now(conn) + timedelta(seconds=2)
        await report(conn, ChangeEffects(WABA, tuple(live_facts(at))))
    provisioning = worker(
        pool, {"provision": FollowUpHandler(partial(provision, context(pool, ring)))}
    )
    await provisioning.work_once()  # the era is suspended: there is nothing to set up
    await read(pool, ring, monkeypatch, "unsubscribed", is_settled=True)
    assert not (await find_era(conn)).is_suspended
    assert await conn.fetchval(
        "SELECT true FROM follow_ups WHERE kind = 'provision' AND state = 'pending'"
    )


@pytest.mark.parametrize("named", [[WABA], [WABA, "210000000000099"]])
async def test_a_takedown_that_comes_after_another_organization_s_login_still_counts(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch, named: list[str]
) -> None:
    """By B's login the customer shared the WABA anew, so that A's token reaches it again."""
    await own(conn)
    await save_token(conn, ring, WABA, "a")
    await start_of_b(conn)
    await name_waba(conn, "code-b", *named)
    unshared_at = await now(conn) - timedelta(minutes=2)
    await read(pool, ring, monkeypatch, "reached", is_contested=True)  # B's login is refused
    await read(pool, ring, monkeypatch, "reached")  # and A asks by a live check
    async with conn.transaction():
        await report(conn, ChangeEffects(WABA, (Fact("shared", "unshared", unshared_at),)))
    assert (await find_era(conn)).is_suspended


class LeavingMeanwhile(ValidTokens):
    """While Meta answers the first call, the owner leaves."""

    def __init__(self, conn: Conn) -> None:
        self.calls: list[str] = []
        self._conn = conn

    async def read_numbers(self, waba_id: str, _: str) -> list[PhoneNumber]:
        self.calls.append("read_numbers")
        await leave(self._conn, waba_id)
        return [PhoneNumber("60", "15550001111", is_coexistence=False, is_registered=False)]

    async def is_subscribed(self, *_: str) -> bool:
        self.calls.append("is_subscribed")
        return True


async def leave(conn: Conn, waba_id: str) -> None:
    async with conn.transaction():
        await disconnection.request(
            conn, waba_id, organization_id=None, requester=Requester("eva", "left")
        )


async def test_a_disconnect_stops_the_setup_whoever_requests_it_again(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    await own(conn)
    await save_token(conn, ring, WABA, "a")
    graph = LeavingMeanwhile(conn)
    run = FollowUpHandler(partial(provision, context(pool, ring, graph)))
    await follow_ups.add(conn, "provision", [WABA])

    assert await worker(pool, {"provision": run}).work_once()
    await follow_ups.add(conn, "provision", [WABA])
    assert await worker(pool, {"provision": run}).work_once()

    assert graph.calls == ["read_numbers"]
    assert await numbers.current(conn, WABA) == []
    assert not await follow_ups.is_open(conn, "provision", WABA)
    assert await follow_ups.is_open(conn, "disconnect", WABA)


async def test_a_disconnect_uses_no_token_of_the_next_owner(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    await own(conn)
    await save_token(conn, ring, WABA, "a")
    await leave(conn, WABA)
    await start_of_b(conn)
    load = follow_ups.load

    async def load_and_prove(tx: Conn, lease: Lease) -> FollowUp | None:
        loaded = await load(tx, lease)
        async with conn.transaction():  # B's proof commits between the lease and the first look
            await prove(conn, "code-b", WABA, None, await now(conn))
            await save_token(conn, ring, WABA, "b")
        return loaded

    monkeypatch.setattr(follow_ups, "load", load_and_prove)
    graph = Disconnected()
    run = partial(disconnecting.disconnect, context(pool, ring, graph))
    assert await worker(pool, {"disconnect": FollowUpHandler(run)}).work_once()
    assert graph.tokens == []


async def test_a_token_of_another_organization_that_no_key_opens_is_not_the_login_s_fault(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    await own(conn)
    await conn.execute("UPDATE whatsapp_connections SET token = 'no envelope', token_at = now()")
    await proving._ask_for_owner(context(pool, ring), WABA, B)
    era = await eras.open_era(conn, WABA)
    assert era is not None
    assert ownership.stands_against(era, B)


async def read(
    pool: Pool,
    ring: KeyRing,
    monkeypatch: MonkeyPatch,
    reach: str,
    *,
    is_settled: bool = False,
    is_contested: bool = False,
) -> None:
    """Read the connection at Meta, which answers `reach`."""

    async def answer(*_: object) -> str:
        return reach

    monkeypatch.setattr(connection_reads, "_reach", answer)
    await connection_reads.read_connection(
        pool, ring, cast("Graph", ValidTokens()), WABA,
        is_settled=is_settled, is_contested=is_contested,
    )  # fmt: skip


class Disconnected:
    """A Graph that notes with which tokens a connection is taken down."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def deregister(self, _: str, __: str, token: str) -> None:
        self.tokens.append(token)

    async def unsubscribe(self, _: str, token: str) -> None:
        self.tokens.append(token)
