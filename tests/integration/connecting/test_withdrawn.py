"""Who has disconnected a WABA: its owner on paper, without a say and without what still comes."""

import asyncio

import asyncpg
import pytest

from shared.actions import claiming, settling
from shared.store import api_keys, connections, proofs
from shared.store.pool import Connection
from tests.integration.connecting.house import CONNECTIONS, ORPHANS, House
from tests.simulated import NUMBER, WABA, number
from tests.waiting import eventually

OWNERS = "SELECT organization_id FROM webhook_changes ORDER BY id"


async def set_up(house: House) -> None:
    await house.meta.put_waba(number())
    await house.until_active(await house.connect())


async def disconnect(house: House) -> None:
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "contract ended"}, status=202)
    await house.until_connection("disconnected")


async def owners(conn: Connection, count: int) -> list[str | None]:
    """The owners of the newest `count` changes, once there are more than before."""

    async def look() -> list[str | None] | None:
        found = [record[0] for record in await conn.fetch(OWNERS)]
        return found[-count:] if len(found) >= count else None

    return await eventually(look)


async def test_what_comes_after_a_disconnect_waits_for_the_next_proof(
    house: House, conn: Connection
) -> None:
    await set_up(house)
    await disconnect(house)
    shown = await house.ask("GET", f"{CONNECTIONS}/{WABA}")
    assert (shown["organization_id"], shown["attribution"]) == ("bakery", "withdrawn")
    before = await conn.fetchval("SELECT count(*) FROM webhook_changes")

    house.meta.time += 60  # else it is the same change as before
    await house.meta.happen("PARTNER_ADDED")
    found = await owners(conn, before + 1)
    assert found[-1] is None
    for what, body in (("provision", None), ("disconnect", {"reason": "once more"})):
        told = await house.ask("POST", f"{CONNECTIONS}/{WABA}/{what}", body, status=403)
        assert told["code"] == "proof_needed"

    claim = {"organization_id": "pharmacy", "actor": "eva", "reason": "they called"}
    await house.ask("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)

    async def is_theirs() -> bool:
        return (await owners(conn, before + 1))[-1] == "pharmacy"

    await eventually(is_theirs)
    assert (await owners(conn, before + 1))[:-1] == found[:-1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("disconnect", {"reason": "once more"}),
        ("provision", None),
        (f"numbers/{NUMBER}/pin", {"pin": "271828"}),
    ],
)
async def test_who_asks_while_another_takes_over_asks_in_vain(
    house: House, conn: Connection, path: str, body: dict[str, str] | None
) -> None:
    await set_up(house)
    key = await api_keys.create(conn, "theirs", "bakery")
    async with conn.transaction():
        await connections.lock(conn, [WABA])
        url = f"{CONNECTIONS}/{WABA}/{path}"
        asked = asyncio.create_task(house.ask("POST", url, body, key=key, status=404))
        await eventually(lambda: _somebody_waits(house))
        await proofs.withdraw(conn, WABA, "bakery")
        await settling.settle(conn, [WABA])
        taken = await claiming.claim(conn, WABA, "pharmacy", actor="operator", reason="theirs")
        assert taken is None
    assert (await asked)["code"] == "no_such_connection"
    kinds = [record[0] for record in await conn.fetch("SELECT reason FROM audit_log")]
    assert kinds == ["theirs"]


async def _somebody_waits(house: House) -> bool:
    connection = await asyncpg.connect(house.environment["DATABASE_URL"])
    try:
        return bool(
            await connection.fetchval(
                "SELECT true FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' LIMIT 1"
            )
        )
    finally:
        await connection.close()
