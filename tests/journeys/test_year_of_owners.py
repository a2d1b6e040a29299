"""A year of one WABA: three organizations own it in turn, and its history reads like that."""

import re
import time
from datetime import UTC, datetime

from shared.crypto import KeyRing
from shared.store.connections import eras, organizations
from shared.store.pool import Conn
from tests.support.command_line import porteiro
from tests.support.onboarding_setup import CONNECTIONS, ORPHANS, Installation
from tests.support.ownership import store_message
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually

A, B, C = "agency-a", "agency-b", "agency-c"


async def test_three_organizations_in_a_year(
    installation: Installation, conn: Conn, ring: KeyRing
) -> None:
    await installation.meta.put_waba(number())
    owners: list[str | None] = []

    async def message() -> None:
        """Let the customer's next message be received. Note whose it is."""
        at = datetime.now(UTC)
        new = await store_message(conn, ring, WABA, at=at, number=len(owners) + 1)
        owners.append(new.organization_id)

    await installation.until_active(await installation.connect(A))
    await message()
    await pass_months(installation, conn, 4)

    await installation.meta.happen("PARTNER_REMOVED")
    await installation.until_connection("disconnected")
    await eventually(lambda: _is_nobodys(conn))
    await message()
    await pass_months(installation, conn, 1)

    await installation.until_active(await installation.connect(B))
    await message()
    await pass_months(installation, conn, 4)

    ends = {"reason": "contract ended"}
    await installation.request("POST", f"{CONNECTIONS}/{WABA}/disconnect", ends, status=202)
    await message()
    await installation.until_connection("disconnected")
    await pass_months(installation, conn, 3)

    await organizations.add(conn, C)
    claim = {"organization_id": C, "actor": "eva", "reason": "they called"}
    await installation.request("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)
    await message()

    assert owners == [A, None, B, None, C]

    async def is_all_given() -> bool:
        rows = await conn.fetch(
            "SELECT organization_id FROM webhook_changes WHERE field = 'messages' ORDER BY id"
        )
        return [row[0] for row in rows] == [A, B, B, C, C]

    await eventually(is_all_given)
    _, printed = await porteiro("connections", "history", WABA, COLUMNS="80")
    assert re.findall("agency-.", printed) == [A, B, C]
    for words in ("login", "removed at Meta", "our disconnect", "claim", "now"):
        assert words in printed


async def pass_months(installation: Installation, conn: Conn, months: int) -> None:
    """Make all that happened so far these months older."""
    for table, columns in {
        "connection_eras": "began_at proven_at confirmed_at suspended_at ended_at",
        "connection_facts": "at",
        "whatsapp_onboarding": "created_at proven_at code_at",
    }.items():
        older = ", ".join(f"{column} = {column} - $1 * interval '1 month'"
                          for column in columns.split())  # fmt: skip
        await conn.execute(f"UPDATE {table} SET {older}", months)
    installation.meta.time = time.time()


async def _is_nobodys(conn: Conn) -> bool:
    return await eras.open_era(conn, WABA) is None
