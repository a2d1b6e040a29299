"""Plays the scenes of ownership and tells what PostgreSQL then says of each WABA."""

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
from shared.actions.connection_state import record_proof
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, transaction

DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    scene: Scene
    found: tuple[Any, ...] | None
    owned_changes: int
    webhooks: int
    events: int

    @property
    def came_true(self) -> bool:
        wanted = self.scene.owned_changes
        sent = len(self.scene.posts) + len(self.scene.staging)
        is_as_told = self.found == self.scene.expected and wanted in (None, self.owned_changes)
        return is_as_told and self.webhooks == sent


async def play(facts: dict[str, Any]) -> list[Finding]:
    async with (
        asyncpg.create_pool(facts["database"], min_size=0, max_size=2) as pool,
        aiohttp.ClientSession() as http,
    ):
        return [await _perform(scene, pool, http, facts) for scene in scenes()]


async def _perform(
    scene: Scene, pool: Pool, http: aiohttp.ClientSession, facts: dict[str, Any]
) -> Finding:
    async with transaction(pool) as conn:
        webhooks, events = await _count(conn)
        await _make_known(conn, scene)
        if scene.proof:
            await _prove(conn, scene.proof)
    await _post(scene, http, facts)

    async def look() -> Finding:
        async with transaction(pool) as conn:
            owned, found = await _find(conn, scene.waba_id)
            webhooks_now, events_now = await _count(conn)
        return Finding(scene, found, owned, webhooks_now - webhooks, events_now - events)

    return await _until_true(look)


async def _count(conn: Conn) -> tuple[int, int]:
    """Webhooks that came to their end, and events, so far."""
    ended = await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed")
    return ended, await conn.fetchval("SELECT count(*) FROM events")


async def _make_known(conn: Conn, scene: Scene) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    for known in scene.known:
        await organizations.add(conn, known.organization_id)
        if known.business_id:
            await organizations.add_business(conn, known.organization_id, known.business_id)
        if known.tracking_code:
            await onboardings.start(
                conn, NewOnboarding(known.organization_id, known.tracking_code, expires_at)
            )


async def _prove(conn: Conn, proof: Proof) -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    await record_proof(conn, proof.tracking_code, proof.waba_id, proof.business_id, at)


async def _post(scene: Scene, http: aiohttp.ClientSession, facts: dict[str, Any]) -> None:
    order = {"raw": [b64encode(post).decode() for post in scene.posts], "signature": "right"}
    if scene.posts:
        url = f"{facts['simulated_meta']}/simulator/webhooks"
        async with http.post(url, json=order, raise_for_status=True):
            pass
    for form in scene.staging:
        url = f"{facts['ingress']}{PATH}/test"
        async with http.post(url, data=form, raise_for_status=True):
            pass


async def _find(conn: Conn, waba_id: str) -> tuple[int, tuple[Any, ...] | None]:
    """How many of its changes have an owner; and owner, why, state and reason of the WABA."""
    found = await conn.fetchrow(
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
    return owned, tuple(found) if found else None


async def _until_true(look: Callable[[], Awaitable[Finding]]) -> Finding:
    """The first finding that came true, or the last within the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        finding = await look()
        if finding.came_true or time.monotonic() > deadline:
            return finding
        await asyncio.sleep(0.01)


def table(findings: Sequence[Finding]) -> Table:
    table = Table(title="Whose it is, why, and how it stands")
    table.add_column("what came", overflow="fold", ratio=5)
    table.add_column("WABA")
    table.add_column("owner", ratio=1)
    table.add_column("why", ratio=2)
    table.add_column("state", ratio=3)
    table.add_column("its changes", justify="right")
    table.add_column("events", justify="right")
    table.add_column("", justify="center")
    for one in findings:
        owner, why, state, reason = one.found or (None, "unknown", "unknown", None)
        mark = "[green]ok[/]" if one.came_true else "[bold red]NO[/]"
        standing = f"{state} ({reason})" if reason and reason != state else state
        table.add_row(
            one.scene.title, one.scene.waba_id, owner or "nobody", why, standing,
            str(one.owned_changes), str(one.events), mark,
        )  # fmt: skip
    return table
