"""A real browser, whose pages log no error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from deploy.local.stack.install import find


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find("chromium"), args=["--no-sandbox"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_page(browser: Browser, *expected: str, **options: Any) -> AsyncIterator[Page]:
    """Yield a page in a browser context of its own.

    Fail on any logged error, and on anything its policy blocks, but for what contains one of the
    `expected`.
    """
    faults: list[str] = []
    page = await browser.new_page(**options)
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    await page.context.close()
    assert [fault for fault in faults if not any(text in fault for text in expected)] == []
