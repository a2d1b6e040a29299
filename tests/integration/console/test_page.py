"""Test the page where customers connect, in a real browser with the simulated dialog."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from deploy.local.stack.install import find
from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, Installation
from tests.support.simulated import WABA, coexisting, number

DONE = "Your account is connected."
SECONDS = 20_000


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """Yield a page. Fail the test on any logged error and on anything its policy blocks."""
    faults: list[str] = []
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(
            executable_path=find("chromium"), args=["--no-sandbox"]
        )
        stack.push_async_callback(browser.close)
        page = await browser.new_page()
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
    assert faults == []


async def open_page(installation: Installation, page: Page, **more: Any) -> str:
    code = await installation.start_onboarding(**more)
    await page.goto(f"{installation.environment['CONSOLE_URL']}/connect/{code}")
    await expect(page.get_by_role("heading")).to_have_text("Connect your WhatsApp Business account")
    return code


async def test_the_popup(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(number())
    code = await open_page(installation, page)
    async with page.expect_popup() as popup:
        await page.get_by_role("button", name="Continue with Meta").click()
    dialog = await popup.value
    await dialog.get_by_role("button", name="number").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    now = await installation.status(code)
    assert (now["state"], now["waba_id"], now["session_event"]) == ("completed", WABA, "FINISH")


async def test_the_redirect(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(coexisting())
    code = await open_page(installation, page, flow="redirect", is_coexistence=True)
    await page.get_by_role("button", name="Continue with Meta").click()
    await page.get_by_role("button").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    assert page.url.endswith(f"/connect/{code}")


async def test_a_pin_is_asked_for_and_sent(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(number(pin="271828"))
    code = await open_page(installation, page)
    await installation.complete_popup(code)
    await page.reload()
    await page.get_by_label("six-digit PIN").fill("271828", timeout=SECONDS)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    await expect(page.get_by_label("six-digit PIN")).to_be_hidden()


async def test_a_cancelled_dialog_can_be_opened_again(
    installation: Installation, page: Page
) -> None:
    await installation.meta.put_waba(number())
    await open_page(installation, page)
    button = page.get_by_role("button", name="Continue with Meta")
    async with page.expect_popup() as popup:
        await button.click()
    await (await popup.value).get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("status")).to_contain_text("start again when you are ready")
    await expect(button).to_be_enabled()


async def test_a_late_return_from_meta_shows_the_page_and_no_error(
    installation: Installation, page: Page, conn: Conn
) -> None:
    await installation.meta.put_waba(number())
    code = await open_page(installation, page)
    await installation.complete_popup(code)
    await installation.until_active(code)
    return_url = f"{installation.environment['CONSOLE_URL']}/connect/return?state={code}"
    for query in ("&code=another", "&code=%00", ""):
        await page.goto(return_url + query)
        await expect(page.get_by_role("status")).to_contain_text(DONE)
    late_code = await open_page(installation, page)
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now() WHERE state = 'open'")
    await page.goto(
        f"{installation.environment['CONSOLE_URL']}/connect/return?state={late_code}&code=x"
    )
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
    await expect(page.get_by_role("button", name="Continue with Meta")).to_be_hidden()
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
    await expect(page.get_by_role("button", name="Continue with Meta")).to_be_hidden()


async def test_wrong_links_and_foreign_origins_are_refused(
    installation: Installation, page: Page
) -> None:
    for path, status in (("/connect/unknown-code", 404), ("/connect/return?state=%00", 422)):
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
