"""A former owner stays the connection's owner, but may not change it and gets no new changes."""

import asyncio
from datetime import timedelta

import pytest

from shared.actions import ownership
from shared.crypto import KeyRing
from shared.store.audit import Requester
from shared.store.connections import connections, organizations
from shared.store.pool import Conn, transaction
from tests.support.eras import is_lock_awaited
from tests.support.keys import make_key
from tests.support.onboarding_setup import CONNECTIONS, ORPHANS, Installation
from tests.support.ownership import store_message
from tests.support.simulated import NUMBER, WABA, number
from tests.support.waiting import eventually

OWNERS = "SELECT organization_id FROM webhook_changes ORDER BY id"


async def set_up(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())


async def disconnect(installation: Installation) -> None:
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "contract ended"}, status=202)
    await installation.until_connection("disconnected")


async def _are_owned(conn: Conn, *owners: str | None) -> bool:
    """Return whether the changes, oldest first, have these owners."""
    return [record[0] for record in await conn.fetch(OWNERS)] == list(owners)


async def test_changes_after_a_disconnect_wait_for_the_next_proof_or_claim(
    installation: Installation, conn: Conn, ring: KeyRing
) -> None:
    await set_up(installation)
    await disconnect(installation)
    shown = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
    assert (shown["organization_id"], shown["attribution"]) == ("bakery", "former")
    ended_at = await conn.fetchval("SELECT ended_at FROM connection_eras")

    installation.meta.time += 60  # otherwise the change has the same key as the first one
    await installation.meta.happen("PARTNER_ADDED")
    await eventually(lambda: _are_owned(conn, "bakery", None))
    refused = await installation.request("POST", f"{CONNECTIONS}/{WABA}/provision", status=403)
    assert refused["code"] == "proof_needed"
    path = f"{CONNECTIONS}/{WABA}/disconnect"  # a repetition changes nothing
    await installation.request("POST", path, {"reason": "once more"}, status=202)
    audited = "SELECT count(*) FROM audit_log WHERE action = 'connection.disconnect'"
    assert await conn.fetchval(audited) == 1

    await organizations.add(conn, "pharmacy")
    claim = {"organization_id": "pharmacy", "actor": "eva", "reason": "they called"}
    await installation.request("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)
    await eventually(lambda: _are_owned(conn, "bakery", "pharmacy"))

    # It waited in a queue since then.
    new = await store_message(conn, ring, WABA, at=ended_at - timedelta(seconds=1))
    assert new.organization_id == "bakery"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("disconnect", {"reason": "once more"}),
        ("provision", None),
        (f"numbers/{NUMBER}/pin", {"pin": "271828"}),
    ],
)
async def test_a_request_of_the_previous_owner_during_a_claim_finds_no_connection(
    installation: Installation, conn: Conn, path: str, body: dict[str, str] | None
) -> None:
    await set_up(installation)
    key = await make_key(conn, "bakery", "theirs")
    async with conn.transaction():
        await connections.lock(conn, [WABA])
        url = f"{CONNECTIONS}/{WABA}/{path}"
        request = asyncio.create_task(installation.request("POST", url, body, key=key, status=404))
        await eventually(lambda: _is_lock_awaited(installation))
        await organizations.add(conn, "pharmacy")
        await ownership.release(conn, WABA, Requester("operator", "left"))
        await ownership.claim(conn, WABA, "pharmacy", Requester("operator", "theirs"))
    assert (await request)["code"] == "no_such_connection"
    of_the_owner = "SELECT reason FROM audit_log WHERE action NOT LIKE 'onboarding.%' ORDER BY id"
    reasons = [record[0] for record in await conn.fetch(of_the_owner)]
    assert reasons == ["left", "theirs"]


async def _is_lock_awaited(installation: Installation) -> bool:
    async with transaction(installation.pool) as watcher:
        return await is_lock_awaited(watcher)
