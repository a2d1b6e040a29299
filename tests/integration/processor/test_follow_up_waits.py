"""What a follow-up waits for, and what counts as its attempt."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

import time_machine
from prometheus_client import CollectorRegistry

from services.processor.follow_ups.context import FollowUpContext, FollowUpHandler
from services.processor.follow_ups.handlers import attribution_handlers
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.follow_ups.provision import provision, record_blocked_setup
from services.processor.follow_ups.worker import FollowUpWorker
from shared.actions import ownership
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact
from shared.domain.numbers import PhoneNumber
from shared.domain.proof import TokenReport
from shared.graph.answers import Token, Waba
from shared.graph.client import Graph
from shared.store.connections import connections, follow_ups, onboardings, organizations, tokens
from shared.store.connections.follow_ups import FollowUpKind
from shared.store.connections.onboardings import Flow, NewOnboarding, Onboarding
from shared.store.pool import Conn, Pool, now, transaction
from tests.support.eras import A, B, ValidTokens, is_lock_awaited, own
from tests.support.keys import OPERATOR, TOKEN_RING
from tests.support.ownership import name_waba, report, store_message
from tests.support.sending import WABA
from tests.support.tokens import save_token
from tests.support.waiting import eventually

BUSINESS = "730000000000020"
ENDS_AT = datetime(2100, 1, 1, tzinfo=UTC)


class GrantedBefore(ValidTokens):
    """A Graph that gives the token which a business granted before."""

    async def fetch_token(self, _: str, **__: str) -> Token:
        return Token("fetched", None)

    async def debug_token(self, _: str, **__: object) -> TokenReport:
        return replace(await super().debug_token(""), data_access_ends_at=ENDS_AT)

    async def read_waba(self, waba_id: str, _: str) -> Waba:
        return Waba(waba_id, BUSINESS)


class OneNumber(ValidTokens):
    """A Graph of a WABA that is subscribed, and has one number, which is connected."""

    async def read_numbers(self, *_: str) -> list[PhoneNumber]:
        return [PhoneNumber("60", "15550001111", is_coexistence=False, is_registered=True)]

    async def is_subscribed(self, *_: str) -> bool:
        return True


def worker(pool: Pool, handlers: Mapping[FollowUpKind, FollowUpHandler]) -> FollowUpWorker:
    return FollowUpWorker(pool, handlers, (30,), FollowUpMetrics(CollectorRegistry()))


def context(pool: Pool, graph: object) -> FollowUpContext:
    return FollowUpContext(pool, TOKEN_RING, cast("Graph", graph), (30,))


async def share(conn: Conn) -> datetime:
    """Let Meta report that the WABA of BUSINESS is shared with us. Return when."""
    at = await now(conn)
    facts = (Fact("shared", "shared", at), Fact("owner_business", BUSINESS, at))
    async with conn.transaction():
        await report(conn, ChangeEffects(WABA, facts, is_waba=True))
    return at


async def start(conn: Conn, organization: str, *, flow: Flow = "popup") -> Onboarding:
    await organizations.add(conn, organization)
    until = await now(conn) + timedelta(hours=1)
    new = NewOnboarding(organization, f"code-{organization}", until, flow)
    onboarding = await onboardings.start(conn, TOKEN_RING, new)
    assert onboarding is not None
    return onboarding


async def test_an_owner_by_business_is_decided_again_when_the_other_onboarding_expires(
    pool: Pool, conn: Conn
) -> None:
    await organizations.add(conn, A)
    await organizations.add_business(conn, A, BUSINESS)
    other = await start(conn, B)
    await name_waba(conn, "code-agency-b", WABA)
    await share(conn)
    await follow_ups.add(conn, "attribute", [WABA])
    assert await worker(pool, attribution_handlers(pool)).work_once()
    row = await conn.fetchrow("SELECT state::text, reason, due_at FROM follow_ups")
    assert row is not None
    assert tuple(row) == ("pending", "another_onboarding", other.expires_at)


async def test_a_change_that_another_transaction_holds_is_assigned_afterwards(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    await organizations.add(conn, A)
    await share(conn)
    change = await store_message(conn, ring, WABA, at=await now(conn))
    async with conn.transaction():
        await ownership.claim(conn, WABA, A, OPERATOR)
    attribution = worker(pool, attribution_handlers(pool))
    async with transaction(pool) as holder:
        async with transaction(pool) as earlier:
            await connections.lock(earlier, [WABA])
            working = asyncio.create_task(attribution.work_once())
            await eventually(lambda: is_lock_awaited(conn))
            # Begun later than the follow-up: it does not wait for this transaction's end.
            await holder.execute("SELECT FROM webhook_changes WHERE id = $1 FOR UPDATE", change.id)
        assert await asyncio.wait_for(working, 20)
    standing = "SELECT state::text, reason, attempts FROM follow_ups WHERE kind = 'attribute'"
    assert tuple((await conn.fetch(standing))[0]) == ("pending", "assigning", 0)

    await conn.execute("UPDATE follow_ups SET due_at = now()")
    assert await attribution.work_once()
    assert await conn.fetchval("SELECT organization_id FROM webhook_changes") == A
    assert (await conn.fetch(standing))[0]["state"] == "done"


async def test_a_setup_is_dated_by_the_clock_of_the_database(pool: Pool, conn: Conn) -> None:
    """What it is compared with is dated so too, and another processor's clock is another."""
    await own(conn)
    await save_token(conn, TOKEN_RING, WABA, "granted")
    await follow_ups.add(conn, "provision", [WABA])
    handler = FollowUpHandler(partial(provision, context(pool, OneNumber())))
    provisioning = worker(pool, {"provision": handler})
    began = await now(conn)
    setup = "SELECT value, at >= $1 FROM connection_facts WHERE name = 'setup'"
    with time_machine.travel(began - timedelta(seconds=90)):
        while await provisioning.work_once():
            continue
        assert [tuple(row) for row in await conn.fetch(setup, began)] == [("complete", True)]
        async with conn.transaction():
            await record_blocked_setup(conn, WABA, "reconnect")
    assert [tuple(row) for row in await conn.fetch(setup, began)] == [("reconnect", True)]


async def test_a_token_that_is_fetched_counts_as_an_attempt(pool: Pool, conn: Conn) -> None:
    await organizations.add(conn, A)
    await share(conn)
    async with conn.transaction():
        await ownership.claim(conn, WABA, A, OPERATOR)
    handler = FollowUpHandler(partial(provision, context(pool, GrantedBefore())))
    assert await worker(pool, {"provision": handler}).work_once()
    row = await conn.fetchrow(
        "SELECT state::text, reason, attempts FROM follow_ups WHERE kind = 'provision'"
    )
    assert row is not None
    assert tuple(row) == ("pending", "token_fetched", 1)
    # `debug_token` is not asked again for a week: the end may come before.
    ends_at = await conn.fetchval("SELECT data_access_expires_at FROM whatsapp_connections")
    assert ends_at == ENDS_AT
    token = await tokens.read(conn, TOKEN_RING, WABA)
    assert token is not None
    assert token.text == "fetched"
