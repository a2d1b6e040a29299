"""A popup that ends without a code is told to the company, and can be opened again."""

import json

import pytest

from shared.store.pool import Conn
from tests.journeys.test_numbers import COEXISTENCE
from tests.support.onboarding_setup import Installation
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually


async def test_a_window_that_ends_without_a_code_is_told_and_can_be_opened_again(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    signup = await installation.meta.sign_up()
    await installation.post_session(code, signup["message"])
    for _ in range(2):
        now = await installation.post_session(code, {"event": "CODE_MISSING", "data": {}})
        assert (now["state"], now["reason"]) == ("open", "code_missing")
    events = await conn.fetch("SELECT type, data FROM events WHERE type LIKE 'onboarding.%'")
    assert [event["type"] for event in events] == ["onboarding.cancelled"]
    await installation.complete_popup(code)
    await installation.until_active(code)


@pytest.mark.parametrize("first", ["code", "CANCEL"])
async def test_a_missing_code_hides_neither_a_code_in_use_nor_what_meta_said(
    installation: Installation, conn: Conn, first: str
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    if first == "code":
        await installation.complete_popup(code, "FINISH_ONLY_WABA")
    else:
        await installation.post_session(code, {"event": first, "data": {}})
    await installation.post_session(code, {"event": "CODE_MISSING", "data": {}})
    assert (await installation.status(code))["reason"] != "code_missing"
    event = await conn.fetchval("SELECT session_event FROM whatsapp_onboarding")
    assert event == ("FINISH_ONLY_WABA" if first == "code" else first)


@pytest.mark.parametrize(("said", "reason"), [("CANCEL", "cancelled"), ("ERROR", "error_reported")])
async def test_why_metas_dialog_ended_counts_also_if_it_is_reported_last(
    installation: Installation, conn: Conn, said: str, reason: str
) -> None:
    """Two requests of a browser may arrive in either order."""
    code = await installation.start_onboarding()
    for event in ("CODE_MISSING", said):
        now = await installation.post_session(code, {"event": event, "data": {}})
    assert now["reason"] == reason
    told = await conn.fetch(
        "SELECT data FROM events WHERE type = 'onboarding.cancelled' ORDER BY id"
    )
    assert [json.loads(event["data"])["reason"] for event in told] == ["code_missing", reason]


@pytest.mark.parametrize("first", ["FINISH", "a refused code"])
async def test_after_a_finish_or_a_first_code_a_cancel_leaves_the_code_missing(
    installation: Installation, first: str
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    if first == "FINISH":
        signup = await installation.meta.sign_up()
        await installation.post_session(code, signup["message"])
    else:
        assert (await installation.post_code(code, "of-nobody"))["reason"] == "code_refused"
    for event in ("CODE_MISSING", "CANCEL"):
        now = await installation.post_session(code, {"event": event, "data": {}})
    assert now["reason"] == "code_missing"


async def test_the_message_of_a_second_dialog_keeps_no_code_of_it_out(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding()
    await installation.post_code(code, "of-nobody")
    await installation.post_session(code, {"event": "CODE_MISSING", "data": {}})
    signup = await installation.meta.sign_up()
    now = await installation.post_session(code, signup["message"])
    assert now["reason"] == "code_missing"  # no code is being exchanged
    await installation.post_code(code, signup["code"])
    await installation.until_active(code)


async def test_what_the_browser_said_of_a_popup_without_a_code_still_counts(
    installation: Installation, conn: Conn
) -> None:
    """The customer goes on in the same window, which sends no message."""
    await installation.meta.put_waba(number())  # Meta does not say yet that it is on the app
    code = await installation.start_onboarding()
    await installation.post_session(code, {"event": COEXISTENCE, "data": {"waba_id": WABA}})
    await installation.post_session(code, {"event": "CODE_MISSING", "data": {}})
    signup = await installation.meta.sign_up(webhooks=True)
    await installation.post_code(code, signup["code"])

    async def is_proven() -> bool:
        return bool(await conn.fetchval("SELECT proven_at FROM whatsapp_onboarding"))

    await eventually(is_proven)
    assert await conn.fetchval("SELECT is_coexistence FROM whatsapp_connections")
