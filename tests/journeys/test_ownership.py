"""Agencies A and B, and the customer who moves: each change reaches whoever it belongs to."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.actions import ownership
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact
from shared.store.audit import Requester
from shared.store.connections import connections, eras, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn
from tests.support.keys import TOKEN_RING
from tests.support.onboarding_setup import CHECK, CONNECTIONS, ORPHANS, Installation, Json
from tests.support.ownership import prove, report, store_message
from tests.support.simulated import BUSINESS, NUMBER, WABA, number
from tests.support.waiting import eventually

A, B = "agency-a", "agency-b"
SECOND = "720000000000011"


@pytest.fixture
async def connected(installation: Installation, conn: Conn) -> Installation:
    """A customer connected with agency A, an hour ago. What Meta sends now is a minute old."""
    installation.meta.time = time.time()
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect(A))
    await conn.execute("UPDATE connection_facts SET at = at - interval '1 hour'")
    await conn.execute("UPDATE connection_eras SET proven_at = proven_at - interval '1 hour'")
    installation.meta.time -= 60
    return installation


async def shown(installation: Installation, waba_id: str = WABA) -> dict[str, Any]:
    return await installation.request("GET", f"{CONNECTIONS}/{waba_id}")


@pytest.mark.parametrize("login", ["before Meta is read", "after Meta was read"])
async def test_a_customer_who_unshared_can_connect_with_another_agency(
    connected: Installation, conn: Conn, ring: KeyRing, login: str
) -> None:
    await connected.meta.happen("PARTNER_REMOVED")

    async def is_suspended() -> bool:
        return bool(await conn.fetchval("SELECT suspended_at IS NOT NULL FROM connection_eras"))

    await eventually(is_suspended)
    held = await store_message(conn, ring, WABA, at=datetime.now(UTC), number=1)
    assert held.organization_id is None  # nobody knows yet whether A's ownership has ended
    if login == "after Meta was read":
        await connected.make_follow_ups_due()
        await eventually(lambda: _is_at_rest(conn))
        code = await connected.connect(B)
    else:
        code = await connected.connect(B)

        async def is_proven() -> bool:
            return (await connected.status(code))["waba_id"] is not None

        await eventually(is_proven)
    await connected.until_active(code)
    now = await shown(connected)
    assert (now["organization_id"], now["attribution"]) == (B, "tracking_code")
    later = await store_message(conn, ring, WABA, at=datetime.now(UTC), number=2)
    assert later.organization_id == B

    async def all_is_b_s() -> bool:
        owners = await conn.fetch(
            "SELECT organization_id FROM webhook_changes WHERE field = 'messages'"
        )
        return {row[0] for row in owners} == {B}

    await eventually(all_is_b_s)
    past, present = await eras.history(conn, WABA)
    assert (past.organization_id, past.end_reason) in ((A, "replaced"), (A, "taken_down"))
    assert (present.organization_id, present.is_open) == (B, True)
    lost = await conn.fetch("SELECT organization_id FROM events WHERE type = 'connection.lost'")
    assert [row[0] for row in lost] == [A]


async def test_a_login_while_the_takedown_is_under_way_asks_meta(
    connected: Installation, conn: Conn
) -> None:
    """The webhook of the unsharing has not come. Meta says that A's token reaches nothing."""
    assert connected.meta.world is not None
    for token in connected.meta.world.tokens.values():  # A's token is valid, and covers no WABA
        token.grant = replace(token.grant, waba_id="", business_id="", targets=())
    await connected.until_active(await connected.connect(B))
    [past, _] = await eras.history(conn, WABA)
    assert (past.organization_id, past.end_reason) == (A, "taken_down")


async def test_a_login_is_refused_while_the_other_agency_is_connected_until_it_is_released(
    connected: Installation, conn: Conn
) -> None:
    code = await connected.connect(B)
    assert (await connected.until(code, reason="owned_by_another"))["state"] == "open"
    async with conn.transaction():
        await ownership.release(conn, WABA, Requester("eva", "the customer moved"))
    await connected.complete_popup(code)
    await connected.until_active(code)
    assert [era.end_reason for era in await eras.history(conn, WABA)] == ["released", None]


async def test_a_takedown_that_meta_does_not_confirm_loses_nothing(
    connected: Installation, conn: Conn, ring: KeyRing
) -> None:
    async with conn.transaction():
        takedown = Fact("shared", "unshared", datetime.now(UTC))
        await report(conn, ChangeEffects(WABA, (takedown,)))
        era = await eras.open_era(conn, WABA)
    assert era is not None
    assert era.is_suspended
    held = await store_message(conn, ring, WABA, at=datetime.now(UTC))
    assert held.organization_id is None
    await connected.until_connection("active")

    async def is_given_to_a() -> bool:
        query = "SELECT organization_id FROM webhook_changes WHERE field = 'messages'"
        return bool(await conn.fetchval(query) == A)

    await eventually(is_given_to_a)
    [era] = await eras.history(conn, WABA)
    assert era.is_open
    assert not era.is_suspended


async def proven_and_taken_down(conn: Conn, proven_at: datetime, taken_at: datetime) -> eras.Era:
    """Prove A's onboarding, and let Meta's takedown arrive afterwards. Return A's era."""
    await organizations.add(conn, A)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding(A, "code-1", expires_at))
    async with conn.transaction():
        await prove(conn, "code-1", WABA, BUSINESS, proven_at)
        takedown = Fact("shared", "unshared", taken_at)
        await report(conn, ChangeEffects(WABA, (takedown,)))
    era = await eras.open_era(conn, WABA)
    assert era is not None
    return era


async def test_a_takedown_in_the_second_of_the_proof_is_read_at_meta(conn: Conn) -> None:
    """Meta's time is in whole seconds: it may be the later of the two."""
    proven_at = datetime.now(UTC).replace(microsecond=900_000)
    era = await proven_and_taken_down(conn, proven_at, proven_at.replace(microsecond=0))
    assert era.is_suspended
    kinds = await conn.fetch("SELECT kind::text FROM follow_ups WHERE state = 'pending'")
    assert {row[0] for row in kinds} >= {"read"}


async def test_a_takedown_minutes_before_the_proof_is_read_but_suspends_nothing(
    conn: Conn,
) -> None:
    proven_at = datetime.now(UTC)
    era = await proven_and_taken_down(conn, proven_at, proven_at - timedelta(minutes=5))
    assert not era.is_suspended
    assert await conn.fetchval("SELECT true FROM follow_ups WHERE kind = 'read'")


async def test_a_former_agency_is_not_told_of_the_customer_s_next_waba(
    connected: Installation, conn: Conn
) -> None:
    await connected.request(
        "POST", f"{CONNECTIONS}/{WABA}/disconnect", {"reason": "contract ended"}, status=202
    )
    await connected.until_connection("disconnected")
    await connected.meta.put_waba(waba_id=SECOND)
    path = f"wabas/{SECOND}/events"
    await connected.meta.order("POST", path, {"event": "PARTNER_ADDED"})

    async def is_known() -> bool:
        return bool(
            await conn.fetchval("SELECT true FROM whatsapp_connections WHERE waba_id = $1", SECOND)
        )

    await eventually(is_known)
    await connected.request("GET", f"{CONNECTIONS}/{SECOND}", status=404)
    [orphan] = await connected.orphans()
    assert (orphan["waba_id"], orphan["candidates"]) == (SECOND, [])


async def test_a_claim_for_an_organization_nobody_knows_is_refused(
    installation: Installation, conn: Conn
) -> None:
    await connections.ensure(conn, [WABA])
    claim = {"organization_id": "typing-eror", "actor": "eva", "reason": "they called"}
    refused = await installation.request("POST", f"{ORPHANS}/{WABA}/claim", claim, status=404)
    assert refused["code"] == "no_such_organization"
    await organizations.add(conn, A)
    claim["organization_id"] = A
    await installation.request("POST", f"{ORPHANS}/{WABA}/claim", claim, status=202)
    assert (await shown(installation))["attribution"] == "claimed"


async def test_a_login_of_another_organization_ends_a_claim(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    await connections.ensure(conn, [WABA])
    await organizations.add(conn, A)
    async with conn.transaction():
        await ownership.claim(conn, WABA, A, Requester("eva", "they called"))
    assert installation.meta.world is not None
    installation.meta.world.wabas[WABA].share(installation.meta.time)
    await eventually(lambda: _is_at_rest(conn))
    await installation.until_active(await installation.connect(B))
    assert [era.end_reason for era in await eras.history(conn, WABA)] == ["replaced", None]
    actions = await conn.fetch(
        "SELECT action FROM audit_log WHERE action NOT LIKE 'onboarding.%' ORDER BY id"
    )
    assert [row[0] for row in actions] == ["orphan.claim", "connection.taken_over"]


@pytest.mark.parametrize("session", ["with", "without"])
async def test_a_token_whose_scopes_meta_does_not_tell(
    installation: Installation, session: str
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding(A)
    signup = await installation.meta.sign_up(webhooks=True, tells_scopes=False)
    if session == "with":
        await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    if session == "without":
        assert (await installation.until(code, reason="session_needed"))["waba_id"] is None
        await installation.post_session(code, signup["message"])
    await installation.until_active(code)


async def test_a_live_check_tells_of_a_lost_subscription_and_makes_it_again(
    connected: Installation, conn: Conn
) -> None:
    assert connected.meta.world is not None
    connected.meta.world.wabas[WABA].unsubscribe()
    checked = await live_check(connected, conn)
    assert (checked["is_working"], checked["reason"]) == (False, "subscription_lost")
    assert (checked["state"], checked["doubt"]) == ("active", "subscription_lost")
    checked = await live_check(connected, conn)
    assert (checked["is_working"], checked["reason"]) == (False, "subscription_lost")
    await connected.until_connection("active")
    assert connected.meta.world.wabas[WABA].is_subscribed


async def test_a_live_check_tells_of_a_waba_out_of_reach(
    connected: Installation, conn: Conn
) -> None:
    assert connected.meta.world is not None
    connected.meta.world.wabas[WABA].is_shared = False
    checked = await live_check(connected, conn)
    assert (checked["is_working"], checked["state"], checked["reason"]) == (
        False, "active", "target_missing",
    )  # fmt: skip
    assert checked["remedy"] is not None
    checked = await live_check(connected, conn)
    assert (checked["is_working"], checked["state"], checked["reason"]) == (
        False, "disconnected", "unreachable",
    )  # fmt: skip
    assert [n["phone_number_id"] for n in (await shown(connected))["numbers"]] == [NUMBER]


async def live_check(installation: Installation, conn: Conn) -> Json:
    """Check it as if the last answer was six minutes ago."""
    await conn.execute(
        "UPDATE whatsapp_connections SET token_checked_at = now() - interval '6 minutes',"
        " token_bad_since = now() - interval '6 minutes'"
    )
    answer = await installation.request("GET", f"{CHECK}?waba_id={WABA}&live=true")
    [checked] = answer["connections"]
    assert isinstance(checked, dict)
    return checked


async def _is_at_rest(conn: Conn) -> bool:
    query = "SELECT true FROM follow_ups WHERE state = 'pending' LIMIT 1"
    return not await conn.fetchval(query)
