"""Who has disconnected a WABA: its owner on paper, without a say and without what still comes."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from shared.actions import connection_state, orphan_claims
from shared.crypto import KeyRing
from shared.store import api_keys
from shared.store.connections import connections, proofs
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, ORPHANS, House
from tests.support.samples import make_arrival, make_change, make_webhook, of
from tests.support.simulated import NUMBER, WABA, number
from tests.support.waiting import eventually

OWNERS = "SELECT organization_id FROM webhook_changes ORDER BY id"


async def set_up(house: House) -> None:
    await house.meta.put_waba(number())
    await house.until_active(await house.connect())


async def disconnect(house: House) -> None:
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "contract ended"}, status=202)
    await house.until_connection("disconnected")


async def _are_owned(conn: Conn, *owners: str | None) -> bool:
    """Whether these own the changes there are, in the order of their coming."""
    return [record[0] for record in await conn.fetch(OWNERS)] == list(owners)


async def test_what_comes_after_a_disconnect_waits_for_the_next_proof(
    house: House, conn: Conn, ring: KeyRing
) -> None:
    await set_up(house)
    await disconnect(house)
    shown = await house.ask("GET", f"{CONNECTIONS}/{WABA}")
    assert (shown["organization_id"], shown["attribution"]) == ("bakery", "withdrawn")
    withdrawn_at = await conn.fetchval("SELECT withdrawn_at FROM whatsapp_connections")

    house.meta.time += 60  # else it is the same change as before
    await house.meta.happen("PARTNER_ADDED")
    await eventually(lambda: _are_owned(conn, "bakery", None))
    for what, body in (("provision", None), ("disconnect", {"reason": "once more"})):
        told = await house.ask("POST", f"{CONNECTIONS}/{WABA}/{what}", body, status=403)
        assert told["code"] == "proof_needed"

    claim = {"organization_id": "pharmacy", "actor": "eva", "reason": "they called"}
    await house.ask("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)
    await eventually(lambda: _are_owned(conn, "bakery", "pharmacy"))

    late = make_webhook(at=withdrawn_at - timedelta(seconds=1))  # it rested in a queue since then
    async with conn.transaction():
        await webhooks.insert(conn, ring, [make_arrival(late, state="split")])
        [new] = await changes.insert(conn, ring, of(late, replace(make_change(1), waba_id=WABA)))
    assert new.organization_id is None
    await eventually(lambda: _are_owned(conn, "bakery", "pharmacy", "bakery"))
    told_of = await conn.fetch("SELECT organization_id FROM events WHERE id = $1", new.id)
    assert [record[0] for record in told_of] == ["bakery"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("disconnect", {"reason": "once more"}),
        ("provision", None),
        (f"numbers/{NUMBER}/pin", {"pin": "271828"}),
    ],
)
async def test_who_asks_while_another_takes_over_asks_in_vain(
    house: House, conn: Conn, path: str, body: dict[str, str] | None
) -> None:
    await set_up(house)
    key = await api_keys.create(conn, "theirs", "bakery")
    async with conn.transaction():
        await connections.lock(conn, [WABA])
        url = f"{CONNECTIONS}/{WABA}/{path}"
        asked = asyncio.create_task(house.ask("POST", url, body, key=key, status=404))
        await eventually(lambda: _somebody_waits(house))
        await proofs.withdraw(conn, WABA, "bakery")
        await connection_state.recompute(conn, [WABA])
        taken = await orphan_claims.claim(conn, WABA, "pharmacy", actor="operator", reason="theirs")
        assert taken is None
    assert (await asked)["code"] == "no_such_connection"
    kinds = [record[0] for record in await conn.fetch("SELECT reason FROM audit_log")]
    assert kinds == ["theirs"]


async def _somebody_waits(house: House) -> bool:
    conn = await asyncpg.connect(house.environment["DATABASE_URL"])
    try:
        return bool(
            await conn.fetchval(
                "SELECT true FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' LIMIT 1"
            )
        )
    finally:
        await conn.close()
