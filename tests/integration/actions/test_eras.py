"""Given the eras, each change reaches exactly the organization the rule names, and once.

The oracle reads the rows and knows nothing of the product's query.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.processor.follow_ups.attribute import attribute
from shared.actions import ownership
from shared.actions.errors import UseCaseError
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, live_facts
from shared.store import due, events
from shared.store.audit import Requester
from shared.store.connections import connections, eras, follow_ups, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn, Pool, now, transaction
from tests.support.keys import TOKEN_RING
from tests.support.ownership import prove, report
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

WABA = "210000000000010"
A, B = "ana", "bia"
ACTS = ("prove", "claim", "disconnect", "release", "takedown", "share", "refused", "reached")
Act = tuple[str, str]
_PLAYS = st.lists(
    st.tuples(
        st.sampled_from((*ACTS, *("message",) * 4, *("assign",) * 2)), st.sampled_from((A, B))
    ),
    max_size=14,
)


class Play:
    """One play. A message is received at its place in the play and stored there or at the end."""

    def __init__(self, pool: Pool, ring: KeyRing) -> None:
        self._pool = pool
        self._ring = ring
        self._count = 0
        self._late: list[tuple[int, datetime]] = []

    async def act(self, name: str, organization: str) -> None:
        self._count += 1
        if name == "message":
            async with transaction(self._pool) as conn:
                at = await now(conn)
            if self._count % 2:
                self._late.append((self._count, at))
            else:
                await self._store(self._count, at)
        elif name == "assign":
            await self._assign()
        else:
            async with transaction(self._pool) as conn:
                await self._decide(conn, name, organization)

    async def finish(self) -> None:
        for number, at in reversed(self._late):
            await self._store(number, at)
        await self._assign()

    async def _decide(self, conn: Conn, name: str, organization: str) -> None:
        row = await connections.ensure_locked(conn, WABA)
        era = await eras.open_era(conn, WABA)
        at = await now(conn)
        match name:
            case "prove":
                code = f"code-{self._count}"
                new = NewOnboarding(organization, code, at + timedelta(hours=1))
                await onboardings.start(conn, TOKEN_RING, new)
                await prove(conn, code, WABA, None, at)
            case "claim":
                try:
                    await ownership.claim(conn, WABA, organization, Requester("eva", "asked"))
                except UseCaseError:
                    return
            case "disconnect" | "release" if era is not None:
                is_ours = name == "disconnect"
                await ownership.end(conn, row, era, "disconnected" if is_ours else "released")
            case "takedown":
                later = at + timedelta(seconds=2)  # else it may be of the second before the proof
                await report(conn, ChangeEffects(WABA, (Fact("shared", "unshared", later),)))
            case "share":
                await report(conn, ChangeEffects(WABA, tuple(live_facts(at))))
            case "refused" if era is not None and era.is_suspended:
                await ownership.end(conn, row, era, "taken_down")
            case "reached" if era is not None:
                await ownership.confirm(conn, row, era, at + timedelta(seconds=3))

    async def _store(self, number: int, at: datetime) -> None:
        webhook = make_webhook(at=at)
        async with transaction(self._pool) as conn:
            await webhooks.insert(conn, self._ring, [make_webhook_row(webhook, state="split")])
            change = make_change(number)._replace(waba_id=WABA)
            for _ in range(2):  # a repetition stores nothing
                new = await changes.insert(conn, self._ring, changes_of(webhook, change))
                if owned := [row.id for row in new if row.organization_id]:
                    await events.add_for_changes(conn, owned)

    async def _assign(self) -> None:
        async with transaction(self._pool) as conn:
            await conn.execute("UPDATE follow_ups SET due_at = now(), lease_until = '-infinity'")
        async with transaction(self._pool) as conn:
            leased = await due.lease_follow_up(conn, ["attribute"])
        if leased.leases:
            async with transaction(self._pool) as conn:
                follow_up = await follow_ups.load(conn, leased.leases[0])
            assert follow_up is not None
            await attribute(self._pool, follow_up)


def expected_owner(received_at: datetime, rows: Sequence[Any]) -> str | None:
    """Return whose it is: the era open then, else the next; nobody's while that era is in doubt."""
    for era in sorted(rows, key=lambda era: (era["ended_at"] is None, era["ended_at"])):
        if era["ended_at"] is not None and received_at >= era["ended_at"]:
            continue
        is_held = era["suspended_at"] is not None and received_at >= era["suspended_at"]
        return None if is_held else str(era["organization_id"])
    return None


async def test_each_change_reaches_whom_the_eras_name(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
    @given(_PLAYS)
    @example([("prove", A), ("assign", A), ("message", A), ("disconnect", A), ("prove", B)])
    def assert_owners(acts: list[Act]) -> None:
        asyncio.run_coroutine_threadsafe(_check(pool, conn, ring, acts), loop).result(60)

    await asyncio.to_thread(assert_owners)


async def _check(pool: Pool, conn: Conn, ring: KeyRing, acts: list[Act]) -> None:
    await conn.execute(
        "TRUNCATE organizations, whatsapp_connections, connection_facts, webhook_log, follow_ups"
        " CASCADE"
    )
    for name in (A, B):
        await organizations.add(conn, name)
    play = Play(pool, ring)
    for name, organization in acts:
        await play.act(name, organization)
    await play.finish()
    rows = await conn.fetch("SELECT * FROM connection_eras")
    stored = await conn.fetch(
        """
        SELECT received_at, webhook_changes.organization_id, count(events.id) AS events,
               min(events.organization_id) AS told
        FROM webhook_changes LEFT JOIN events USING (id) GROUP BY webhook_changes.id
        """
    )
    assert len(stored) == sum(name == "message" for name, _ in acts)
    for change in stored:
        owner = expected_owner(change["received_at"], rows)
        assert (change["organization_id"], change["told"]) == (owner, owner)
        assert change["events"] == (owner is not None)
    assert sum(row["ended_at"] is None for row in rows) <= 1
