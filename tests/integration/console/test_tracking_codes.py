"""A tracking code is a secret: it is stored as a hash and sealed, and shown to who asks for it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.demo.canary import in_redis, in_tables
from shared.cache import open_redis
from shared.crypto import Undecryptable
from shared.store.connections import onboardings, tracking_codes
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn
from tests.support.command_line import porteiro
from tests.support.keys import TOKEN_RING
from tests.support.onboarding_setup import ONBOARDING, Installation
from tests.support.simulated import number

BODY = {"organization_id": "bakery"}


async def test_a_code_is_nowhere_in_clear_and_a_repeated_start_returns_it(
    installation: Installation, conn: Conn, redis_url: str
) -> None:
    key = {"Idempotency-Key": "order-1"}
    started = await installation.request("POST", ONBOARDING, BODY, status=201, headers=key)
    again = await installation.request("POST", ONBOARDING, BODY, headers=key)
    code = started["tracking_code"]
    assert again["tracking_code"] == code
    assert again["launch"] == started["launch"]
    assert (await installation.status(code))["onboarding_id"] == started["onboarding_id"]
    async with open_redis(redis_url) as redis:
        assert code not in await in_redis(redis)
    assert [name for name, rows in (await in_tables(conn)).items() if code in rows] == []


async def test_an_event_names_the_code_that_its_row_does_not(
    installation: Installation, conn: Conn
) -> None:
    code = await installation.start_onboarding()
    await installation.request("DELETE", f"{ONBOARDING}/{code}")
    data = json.loads(await conn.fetchval("SELECT data::text FROM events"))
    assert data["onboarding_id"] == (await installation.status(code))["onboarding_id"]
    assert code not in str(data)


async def test_a_code_of_the_version_before_is_found_and_then_sealed(
    installation: Installation, conn: Conn
) -> None:
    """That version stores the code as it is, also while this one runs."""
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    await conn.execute(
        "UPDATE whatsapp_onboarding SET tracking_code = $1, sealed_tracking_code = NULL", code
    )
    await installation.complete_popup(code)
    await conn.execute("UPDATE follow_ups SET subject = $1 WHERE kind = 'prove'", code)
    await installation.until_active(code)
    assert (await porteiro("rotate-keys"))[0] == 0
    assert await conn.fetchval("SELECT tracking_code FROM whatsapp_onboarding") is None
    assert (await installation.status(code))["tracking_code"] == code


async def test_a_row_that_the_version_before_writes_gets_its_hash(conn: Conn) -> None:
    await conn.execute("INSERT INTO organizations (id) VALUES ('bakery')")
    await conn.execute(
        """
        INSERT INTO whatsapp_onboarding (id, organization_id, tracking_code, expires_at)
        VALUES (gen_random_uuid(), 'bakery', 'code-1', now() + interval '1 hour')
        """
    )
    found = await onboardings.find(conn, "code-1", organization_id="bakery")
    assert found is not None
    assert tracking_codes.open_code(TOKEN_RING, found.id, found.stored_code) == "code-1"


async def test_a_sealed_code_opens_in_its_own_row_alone(conn: Conn) -> None:
    await conn.execute("INSERT INTO organizations (id) VALUES ('bakery')")
    until = datetime.now(UTC) + timedelta(hours=1)
    for code in ("code-1", "code-2"):
        assert await onboardings.start(conn, TOKEN_RING, NewOnboarding("bakery", code, until))
    assert (
        await onboardings.start(conn, TOKEN_RING, NewOnboarding("bakery", "code-1", until)) is None
    )
    await conn.execute(
        """
        UPDATE whatsapp_onboarding SET sealed_tracking_code = (
            SELECT sealed_tracking_code FROM whatsapp_onboarding WHERE tracking_code_hash = $1
        )
        """,
        tracking_codes.hash_code("code-1"),
    )
    found = await onboardings.find(conn, "code-2", organization_id=None)
    assert found is not None
    with pytest.raises(Undecryptable):
        tracking_codes.open_code(TOKEN_RING, found.id, found.stored_code)
