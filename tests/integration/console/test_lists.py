"""Each list says what to ask next, until there is no more."""

import aiohttp

from shared.store.connections import organizations
from shared.store.pool import Conn
from tests.support import running
from tests.support.keys import make_key
from tests.support.onboarding_setup import CHECK, CONNECTIONS, ORPHANS

WABAS = [str(number) for number in range(101, 106)]


async def test_whoever_follows_next_after_sees_each_once(
    environment: dict[str, str], conn: Conn
) -> None:
    await organizations.add(conn, "bakery")
    for waba_id in WABAS:
        await conn.execute(
            """
            INSERT INTO whatsapp_connections (id, waba_id, organization_id, attribution)
            VALUES (gen_random_uuid(), $1, 'bakery', 'claimed'),
                (gen_random_uuid(), '2' || $1, NULL, 'no_owner_known')
            """,
            waba_id,
        )
    headers = {"Authorization": f"Bearer {await make_key(conn)}"}
    async with running.console(environment) as http:
        for path, name, expected in (
            (CONNECTIONS, "connections", WABAS),
            (CHECK, "connections", WABAS),
            (ORPHANS, "orphans", [f"2{waba_id}" for waba_id in WABAS]),
        ):
            for limit in (1, 2, 5, 6):
                assert await _follow(http, headers, path, name, limit) == expected


async def _follow(
    http: aiohttp.ClientSession, headers: dict[str, str], path: str, name: str, limit: int
) -> list[str]:
    """Return the WABAs of all pages. Assert that each but the last is full."""
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        query = {"limit": str(limit), "after": after}
        async with http.get(path, params=query, headers=headers) as answer:
            page = await answer.json()
        after = page["next_after"]
        seen += (wabas := [row["waba_id"] for row in page[name]])
        assert len(wabas) == limit or after is None
        assert wabas  # no page is empty
    return seen
