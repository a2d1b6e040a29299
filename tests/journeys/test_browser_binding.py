"""What a browser sends from Meta's dialog counts only if that browser opened the dialog."""

import pytest
from yarl import URL

from services.console.connect.browser import COOKIE
from shared.store.pool import Conn
from tests.support.onboarding_setup import ONBOARDING, Installation
from tests.support.simulated import WABA, number

OTHER_BROWSER = "another browser"


async def untouched(installation: Installation, conn: Conn, code: str) -> bool:
    """Return whether nothing was made of what the browser brought back."""
    assert await installation.calls() == []
    assert await conn.fetchval("SELECT count(*) FROM audit_log WHERE actor LIKE 'customer%'") == 0
    now = await installation.status(code)
    return (now["state"], now["reason"], now["session_event"]) == ("open", None, None)


async def test_a_victim_who_follows_an_attackers_link_to_meta_connects_nothing(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding("attacker", flow="redirect")
    attackers_page = await installation.open_page(code)
    back = await attackers_page.finish_dialog(WABA)  # in the victim's browser
    assert OTHER_BROWSER in await installation.come_back(back, None, status=403)
    victims_page = await installation.open_page(await installation.start_onboarding("victim"))
    text = await installation.come_back(back, victims_page, status=403)
    assert OTHER_BROWSER in text
    assert code not in text
    assert await untouched(installation, conn, code)
    # The same browser may still come back with it.
    await installation.come_back(back, attackers_page, status=303)
    await installation.until_active(code)


async def test_another_browser_cancels_nothing(installation: Installation, conn: Conn) -> None:
    code = await installation.start_onboarding(flow="redirect")
    page = await installation.open_page(code)
    state = URL(page.facts["dialog_url"]).query["state"]
    denied = URL("/connect/return").with_query(state=state, error="access_denied")
    await installation.come_back(denied, None, status=403)
    assert await untouched(installation, conn, code)


@pytest.mark.parametrize("forged", ["", "x", "A" * 120, "é", "%"])
async def test_a_state_that_we_did_not_make_leads_nowhere(
    installation: Installation, conn: Conn, forged: str
) -> None:
    code = await installation.start_onboarding(flow="redirect")
    page = await installation.open_page(code)
    for state in (forged, code):
        back = URL("/connect/return").with_query(state=state, code="made-up")
        assert "leads nowhere" in await installation.come_back(back, page, status=404)
    assert await untouched(installation, conn, code)


async def test_each_state_is_another_and_none_is_the_tracking_code(
    installation: Installation,
) -> None:
    code = await installation.start_onboarding(flow="redirect")
    page = await installation.open_page(code)
    again = await installation.open_page(code)
    states = [URL(opened.facts["dialog_url"]).query["state"] for opened in (page, again)]
    assert len({*states, code}) == 3
    assert page.headers != again.headers  # two browsers


async def test_a_browser_keeps_its_cookie_which_scripts_and_other_hosts_cannot_reach(
    installation: Installation,
) -> None:
    code = await installation.start_onboarding()
    async with installation.http.get(f"/connect/{code}") as answer:
        cookie = answer.cookies[COOKIE]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    headers = {"Cookie": f"{COOKIE}={cookie.value}"}
    async with installation.http.get(f"/connect/{code}", headers=headers) as answer:
        assert COOKIE not in answer.cookies
    headers = {"Cookie": f"{COOKIE}=planted"}
    async with installation.http.get(f"/connect/{code}", headers=headers) as answer:
        assert answer.cookies[COOKIE].value != "planted"


async def test_the_company_opens_metas_dialog_itself_only_with_a_redirect_uri_of_its_own(
    installation: Installation,
) -> None:
    launches = []
    for more in ({}, {"flow": "redirect"}, {"redirect_uri": "https://app.example.test/back"}):
        body = {"organization_id": "bakery", **more}
        started = await installation.request("POST", ONBOARDING, body, status=201)
        launches.append(started["launch"]["dialog_url"])
    assert launches[:2] == [None, None]
    assert URL(launches[2]).query["redirect_uri"] == "https://app.example.test/back"
