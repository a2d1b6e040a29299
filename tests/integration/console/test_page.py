"""The page customers connect on, in a real browser, with the simulated dialog."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from deploy.local.stack.install import find
from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, House
from tests.support.simulated import WABA, coexisting, number

DONE = "Your account is connected."
SECONDS = 20_000


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """Anything the page logs as an error, or its policy blocks, fails the test."""
    faults: list[str] = []
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(
            executable_path=find("chromium"), args=["--no-sandbox"]
        )
        stack.push_async_callback(browser.close)
        page = await browser.new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
    assert faults == []


async def opened(house: House, page: Page, **more: Any) -> str:
    code = await house.start(**more)
    await page.goto(f"{house.environment['CONSOLE_URL']}/connect/{code}")
    await expect(page.get_by_role("heading")).to_have_text("Connect your WhatsApp Business account")
    return code


async def test_the_popup(house: House, page: Page) -> None:
    await house.meta.put_waba(number())
    code = await opened(house, page)
    async with page.expect_popup() as popup:
        await page.get_by_role("button", name="Continue with Meta").click()
    dialog = await popup.value
    await dialog.get_by_role("button", name="number").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    now = await house.status(code)
    assert (now["state"], now["waba_id"], now["session_event"]) == ("completed", WABA, "FINISH")


async def test_the_redirect(house: House, page: Page) -> None:
    await house.meta.put_waba(coexisting())
    code = await opened(house, page, flow="redirect", is_coexistence=True)
    await page.get_by_role("button", name="Continue with Meta").click()
    await page.get_by_role("button").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    assert page.url.endswith(f"/connect/{code}")


async def test_a_pin_is_asked_for_and_told(house: House, page: Page) -> None:
    await house.meta.put_waba(number(pin="271828"))
    code = await opened(house, page)
    await house.go_through(code)
    await page.reload()
    await page.get_by_label("six-digit PIN").fill("271828", timeout=SECONDS)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    await expect(page.get_by_label("six-digit PIN")).to_be_hidden()


async def test_a_cancelled_dialog_can_be_opened_again(house: House, page: Page) -> None:
    await house.meta.put_waba(number())
    await opened(house, page)
    button = page.get_by_role("button", name="Continue with Meta")
    async with page.expect_popup() as popup:
        await button.click()
    await (await popup.value).get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("status")).to_contain_text("start again when you are ready")
    await expect(button).to_be_enabled()


async def test_whoever_comes_back_late_reads_the_page_not_an_error(
    house: House, page: Page, conn: Conn
) -> None:
    await house.meta.put_waba(number())
    code = await opened(house, page)
    await house.go_through(code)
    await house.until_active(code)
    back = f"{house.environment['CONSOLE_URL']}/connect/return?state={code}"
    for query in ("&code=another", "&code=%00", ""):
        await page.goto(back + query)
        await expect(page.get_by_role("status")).to_contain_text(DONE)
    late = await opened(house, page)
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now() WHERE state = 'open'")
    await page.goto(f"{house.environment['CONSOLE_URL']}/connect/return?state={late}&code=x")
    await expect(page.get_by_role("status")).to_contain_text("link has expired")


async def test_what_waits_by_itself_is_no_trouble_and_ends_without_a_reload(
    house: House, page: Page
) -> None:
    await house.meta.put_waba(number())
    code = await opened(house, page)
    unanswered = {"call": "debug_token", "code": 2, "times": 3}
    await house.meta.order("POST", "faults", unanswered)
    await house.go_through(code)
    await page.reload()
    status = page.get_by_role("status")
    await expect(status).to_contain_text("tried again by itself")
    assert await status.get_attribute("data-kind") == ""
    await expect(page.get_by_role("button", name="Continue with Meta")).to_be_hidden()
    await house.until_active(code)
    await expect(status).to_contain_text(DONE, timeout=SECONDS)


async def test_a_link_whose_account_another_has_taken_over_offers_no_login(
    house: House, page: Page
) -> None:
    await house.meta.put_waba(number())
    code = await opened(house, page)
    await house.go_through(code)
    await house.until_active(code)
    path = f"{CONNECTIONS}/{WABA}/disconnect"
    await house.ask("POST", path, {"reason": "contract ended"}, status=202)
    await house.until_connection("disconnected")
    house.meta.time += 60
    await house.until_active(await house.connect("pharmacy"))
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text("by this link no more")
    await expect(page.get_by_role("button", name="Continue with Meta")).to_be_hidden()


async def test_what_stands_in_the_link_is_shown_to_nobody(house: House, page: Page) -> None:
    for path, status in (("/connect/nobodys-code", 404), ("/connect/return?state=%00", 422)):
        async with house.http.get(path) as answer:
            assert answer.status == status
            assert "leads nowhere" in await answer.text()
    code = await house.start()
    async with house.http.get(f"/connect/{code}") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
    for origin in ("https://evil.test", "null"):
        sent = {"Origin": origin}
        path, body = f"/connect/{code}/session", {"event": "CANCEL"}
        async with house.http.post(path, json=body, headers=sent) as answer:
            assert answer.status == 403
