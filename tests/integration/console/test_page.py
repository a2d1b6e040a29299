"""Test the page where customers connect, in a real browser with the simulated dialog."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect
from yarl import URL

from shared.store.pool import Conn
from tests.support import browser
from tests.support.onboarding_setup import CONNECTIONS, Installation
from tests.support.simulated import WABA, coexisting, number
from tests.support.waiting import eventually

DONE = "Your account is connected."
SECONDS = 20_000
#: A network that is this slow lets a later request overtake.
SLOW_SECONDS = 2.0


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser.open_browser() as chromium, browser.open_page(chromium) as page:
        yield page


async def open_page(installation: Installation, page: Page, **more: Any) -> str:
    code = await installation.start_onboarding(**more)
    await page.goto(f"{installation.environment['CONSOLE_URL']}/connect/{code}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("account to bakery")
    return code


async def begin(page: Page) -> None:
    """Say that the customer wants to connect. It opens Meta's dialog."""
    await page.get_by_role("button", name="Connect").click()
    await page.get_by_role("button", name="Continue at Meta").click()


async def begin_in_popup(page: Page) -> Page:
    async with page.expect_popup() as popup:
        await begin(page)
    return await popup.value


async def return_url(page: Page) -> URL:
    """Return where Meta's dialog would redirect this browser to."""
    facts = await page.locator("#connect").get_attribute("data-facts")
    dialog = URL(json.loads(facts or "")["dialog_url"])
    return URL(dialog.query["redirect_uri"]).with_query(state=dialog.query["state"])


async def test_the_popup(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(number())
    code = await open_page(installation, page)
    dialog = await begin_in_popup(page)
    await dialog.get_by_role("button", name="number").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("is connected to")
    now = await installation.status(code)
    assert (now["state"], now["waba_id"], now["session_event"]) == ("completed", WABA, "FINISH")


async def test_the_redirect(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(coexisting())
    code = await open_page(installation, page, flow="redirect", is_coexistence=True)
    await begin(page)
    await page.get_by_role("button").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    assert page.url.endswith(f"/connect/{code}")


async def test_a_pin_is_asked_for_and_sent(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(number(pin="271828"))
    code = await open_page(installation, page)
    await installation.complete_popup(code)
    await page.reload()
    await page.get_by_label("six-digit PIN of +15550001111").fill("271828", timeout=SECONDS)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    await expect(page.get_by_label("six-digit PIN of +15550001111")).to_be_hidden()


async def test_a_cancelled_dialog_can_be_opened_again(
    installation: Installation, page: Page
) -> None:
    await installation.meta.put_waba(number())
    await open_page(installation, page)
    dialog = await begin_in_popup(page)
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("status")).to_contain_text("start again when you are ready")
    await begin_in_popup(page)


async def test_the_browsers_messages_do_not_overtake_each_other(
    installation: Installation, page: Page
) -> None:
    answered: list[str] = []

    async def hold_up_the_first(route: Route) -> None:
        event = json.loads(route.request.post_data or "")["event"]
        if event == "CANCEL":
            await asyncio.sleep(SLOW_SECONDS)
        response = await route.fetch()
        answered.append(event)
        await route.fulfill(response=response)

    async def both_are_answered() -> bool:
        return len(answered) == 2

    await page.route("**/session", hold_up_the_first)
    await open_page(installation, page)
    dialog = await begin_in_popup(page)
    await dialog.get_by_role("button", name="Cancel").click()
    await eventually(both_are_answered)
    assert answered == ["CANCEL", "CODE_MISSING"]
    await expect(page.get_by_role("status")).to_contain_text("start again when you are ready")


async def test_a_late_return_from_meta_shows_the_page_and_no_error(
    installation: Installation, page: Page, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    code = await open_page(installation, page)
    await installation.complete_popup(code)
    await installation.until_active(code)
    for query in ({"code": "another"}, {"code": "\0"}, {}):
        await page.goto(str((await return_url(page)).update_query(query)))
        await expect(page.get_by_role("status")).to_contain_text(DONE)
    await open_page(installation, page)
    late_url = (await return_url(page)).update_query(code="x")
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now() WHERE state = 'open'")
    await page.goto(str(late_url))
    await expect(page.get_by_role("status")).to_contain_text("link has expired")


async def test_an_automatic_retry_is_no_error_and_ends_without_a_reload(
    installation: Installation, page: Page
) -> None:
    await installation.meta.put_waba(number())
    code = await open_page(installation, page)
    failing = {"call": "debug_token", "code": 2, "times": 3}
    await installation.meta.order("POST", "faults", failing)
    await installation.complete_popup(code)
    await page.reload()
    status = page.get_by_role("status")
    await expect(status).to_contain_text("We try again automatically")
    assert await status.get_attribute("data-kind") == ""
    await expect(page.get_by_role("button", name="Connect")).to_be_hidden()
    await installation.until_active(code)
    await expect(status).to_contain_text(DONE, timeout=SECONDS)


async def test_a_link_offers_no_login_after_another_organization_took_its_account(
    installation: Installation, page: Page
) -> None:
    await installation.meta.put_waba(number())
    code = await open_page(installation, page)
    await installation.complete_popup(code)
    await installation.until_active(code)
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await installation.request("POST", path, {"reason": "contract ended"}, status=202)
    await installation.until_connection("disconnected")
    installation.meta.time += 60
    await installation.until_active(await installation.connect("pharmacy"))
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text("by this link no more")
    await expect(page.get_by_role("button", name="Connect")).to_be_hidden()


async def test_wrong_links_and_foreign_origins_are_refused(
    installation: Installation, page: Page
) -> None:
    for path, status in (("/connect/unknown-code", 404), ("/connect/return?state=%00", 404)):
        async with installation.http.get(path) as answer:
            assert answer.status == status
            assert "leads nowhere" in await answer.text()
    code = await installation.start_onboarding()
    async with installation.http.get(f"/connect/{code}") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
    for origin in ("https://evil.test", "null"):
        headers = {"Origin": origin}
        path, body = f"/connect/{code}/session", {"event": "CANCEL"}
        async with installation.http.post(path, json=body, headers=headers) as answer:
            assert answer.status == 403
