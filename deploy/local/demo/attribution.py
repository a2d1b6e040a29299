"""Play the scenes of ownership and read the resulting owner and status of each WABA."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
from rich.table import Table

from deploy.local.demo.bodies import NOW
from deploy.local.demo.ownership import Proof, Scene, scenes
from services.ingress.app import PATH
from shared.actions.ownership import record_proof
from shared.crypto import KeyRing
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, transaction

DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class OwnershipOutcome:
    """What a scene led to.

    `connection` is owner, attribution, state and reason, or None if there is no connection.
    `webhooks` and `events` count what was added.
    """

    scene: Scene
    connection: tuple[Any, ...] | None
    owned_changes: int
    webhooks: int
    events: int

    @property
    def came_true(self) -> bool:
        sent = len(self.scene.posts) + len(self.scene.staging)
        return (
            self.connection == self.scene.expected
            and self.scene.owned_changes in (None, self.owned_changes)
            and self.webhooks == sent
        )


async def play(stack: dict[str, Any]) -> list[OwnershipOutcome]:
    async with (
        asyncpg.create_pool(stack["database"], min_size=0, max_size=2) as pool,
        aiohttp.ClientSession() as http,
    ):
        return [await _perform(scene, pool, http, stack) for scene in scenes()]


async def _perform(
    scene: Scene, pool: Pool, http: aiohttp.ClientSession, stack: dict[str, Any]
) -> OwnershipOutcome:
    async with transaction(pool) as conn:
        webhooks, events = await _count(conn)
        ring = KeyRing([bytes.fromhex(stack["token_encryption_key"])])
        await _create_organizations(conn, scene, ring)
        if scene.proof:
            await _prove(conn, scene.proof)
    await _post(scene, http, stack)

    async def read() -> OwnershipOutcome:
        async with transaction(pool) as conn:
            owned, connection = await _read(conn, scene.waba_id)
            webhooks_now, events_now = await _count(conn)
        return OwnershipOutcome(
            scene, connection, owned, webhooks_now - webhooks, events_now - events
        )

    return await _until_true(read)


async def _count(conn: Conn) -> tuple[int, int]:
    """Return how many webhooks are processed and how many events exist."""
    processed = await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed")
    return processed, await conn.fetchval("SELECT count(*) FROM events")


async def _create_organizations(conn: Conn, scene: Scene, ring: KeyRing) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    for organization in scene.organizations:
        organization_id = organization.organization_id
        await organizations.add(conn, organization_id)
        if organization.business_id:
            await organizations.add_business(conn, organization_id, organization.business_id)
        if organization.tracking_code:
            await onboardings.start(
                conn, ring, NewOnboarding(organization_id, organization.tracking_code, expires_at)
            )


async def _prove(conn: Conn, proof: Proof) -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    row = await connections.ensure_locked(conn, proof.waba_id)
    onboarding = await onboardings.find(conn, proof.tracking_code, organization_id=None)
    await record_proof(conn, row, onboarding, proof.business_id, at)


async def _post(scene: Scene, http: aiohttp.ClientSession, stack: dict[str, Any]) -> None:
    order = {"raw": [b64encode(post).decode() for post in scene.posts], "signature": "right"}
    if scene.posts:
        url = f"{stack['simulated_meta']}/simulator/webhooks"
        async with http.post(url, json=order, raise_for_status=True):
            pass
    for form in scene.staging:
        url = f"{stack['ingress']}{PATH}/test"
        async with http.post(url, data=form, raise_for_status=True):
            pass


async def _read(conn: Conn, waba_id: str) -> tuple[int, tuple[Any, ...] | None]:
    """Return how many changes of the WABA have an owner, and the row of its connection."""
    connection = await conn.fetchrow(
        """
        SELECT organization_id, attribution::text, state::text, reason
        FROM whatsapp_connections WHERE waba_id = $1
        """,
        waba_id,
    )
    owned = await conn.fetchval(
        """
        SELECT count(*) FROM webhook_changes WHERE waba_id = $1 AND organization_id IS NOT NULL
        """,
        waba_id,
    )
    return owned, tuple(connection) if connection else None


async def _until_true(
    read: Callable[[], Awaitable[OwnershipOutcome]],
) -> OwnershipOutcome:
    """Read until the scene came true. Return the last outcome when the deadline is over."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        outcome = await read()
        if outcome.came_true or time.monotonic() > deadline:
            return outcome
        await asyncio.sleep(0.01)


def table(outcomes: Sequence[OwnershipOutcome]) -> Table:
    table = Table(title="Which organization owns each WABA, why, and in which state it is")
    table.add_column("what happens", overflow="fold", ratio=5)
    table.add_column("WABA")
    table.add_column("owner", ratio=1)
    table.add_column("why", ratio=2)
    table.add_column("state", ratio=3)
    table.add_column("owned changes", justify="right")
    table.add_column("events", justify="right")
    table.add_column("", justify="center")
    for outcome in outcomes:
        owner, why, state, reason = outcome.connection or (None, "unknown", "unknown", None)
        mark = "[green]ok[/]" if outcome.came_true else "[bold red]NO[/]"
        status = f"{state} ({reason})" if reason and reason != state else state
        table.add_row(
            outcome.scene.title, outcome.scene.waba_id, owner or "none", why, status,
            str(outcome.owned_changes), str(outcome.events), mark,
        )  # fmt: skip
    return table
