"""Wherever a customer stands on the page, there is a way on, in their words."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from pytest import MonkeyPatch

from services.console.connect.words import WORDS
from services.console.meta_dialog import RETURN_PATH
from shared.domain.remedies import REMEDIES
from shared.store.pool import Conn
from tests.integration.console.test_page import DONE, SECONDS, begin
from tests.support import browser
from tests.support.onboarding_setup import ONBOARDING, Installation
from tests.support.running import console
from tests.support.simulated import COEXISTING, number

RETURN_URL = "http://localhost:1/settings?tab=whatsapp"
SECOND = "720000000000011"
NO_POPUPS = "window.open = () => null"


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with browser.open_browser() as chromium:
        yield chromium


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    async with browser.open_page(chromium) as page:
        yield page


async def open_link(installation: Installation, page: Page, **more: Any) -> str:
    code = await installation.start_onboarding(**more)
    await page.goto(f"{installation.environment['CONSOLE_URL']}/connect/{code}")
    return code


async def test_the_page_names_who_asks_and_asks_before_it_opens_metas_dialog(
    installation: Installation, page: Page, conn: Conn
) -> None:
    await installation.start_onboarding()
    await conn.execute("UPDATE organizations SET display_name = 'Padaria <b>São João</b>'")
    await open_link(installation, page)
    name = "Padaria <b>São João</b>"
    await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    await page.get_by_role("button", name="Connect").click()
    await expect(page.get_by_role("heading", name=f"Do you know {name}?")).to_be_focused()
    await page.get_by_role("button", name="Not now").click()
    await expect(page.get_by_role("button", name="Connect")).to_be_focused()
    assert len(page.context.pages) == 1
    assert await installation.calls() == []


async def test_a_logo_is_shown_and_the_policy_allows_its_host_alone(
    installation: Installation, conn: Conn
) -> None:
    code = await installation.start_onboarding()
    logo = "https://cdn.example.test/logo.svg"
    await conn.execute("UPDATE organizations SET logo_url = $1", logo)
    async with installation.http.get(f"/connect/{code}") as answer:
        text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert f'<img src="{logo}" alt="">' in text
    [images] = [part for part in policy.split("; ") if part.startswith("img-src")]
    assert images.endswith(" https://cdn.example.test")
    assert "cdn.example.test" not in policy.replace(images, "")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://example.test/", "https://example.test/a b", "//x", ""]
)
async def test_the_page_leads_back_over_https_alone(installation: Installation, url: str) -> None:
    body = {"organization_id": "bakery", "return_url": url}
    answer = await installation.request("POST", ONBOARDING, body, status=422)
    assert answer["code"] == "invalid_body"


async def test_a_repeated_start_with_another_return_url_is_refused(
    installation: Installation,
) -> None:
    headers = {"Idempotency-Key": "once"}
    for url, status in ((RETURN_URL, 201), (RETURN_URL, 200), (None, 409)):
        body = {"organization_id": "bakery", "return_url": url}
        await installation.request("POST", ONBOARDING, body, status=status, headers=headers)


async def test_a_blocked_popup_offers_the_same_window(
    installation: Installation, page: Page
) -> None:
    await installation.meta.put_waba(number())
    await page.add_init_script(NO_POPUPS)
    code = await open_link(installation, page, return_url=RETURN_URL)
    await begin(page)
    await expect(page.get_by_role("status")).to_have_text(WORDS["en"]["blocked"])
    await page.get_by_role("link", name="Continue in this window").click()
    await page.get_by_role("button", name="number").first.click()
    await expect(page.get_by_role("status")).to_have_text(DONE, timeout=SECONDS)
    assert page.url.endswith(f"/connect/{code}")
    back = page.get_by_role("link", name="Back to bakery")
    assert await back.get_attribute("href") == RETURN_URL


async def test_without_metas_sdk_the_dialog_opens_in_the_same_window(
    installation: Installation, chromium: Browser
) -> None:
    await installation.meta.put_waba(number())
    async with browser.open_page(chromium, "ERR_FAILED") as page:
        await page.route("**/sdk.js", lambda route: route.abort())
        await open_link(installation, page)
        await begin(page)
        await page.get_by_role("button", name="number").first.click()
        await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)


async def test_a_window_that_is_closed_by_hand_lets_the_customer_begin_again(
    installation: Installation, page: Page
) -> None:
    code = await open_link(installation, page)
    async with page.expect_popup() as popup:
        await begin(page)
    await expect(page.get_by_role("status")).to_have_text(WORDS["en"]["waiting"])
    await (await popup.value).close()
    closed = REMEDIES["code_missing"].texts["en"]
    await expect(page.get_by_role("status")).to_have_text(closed)
    await expect(page.get_by_role("button", name="Connect")).to_be_visible()
    assert (await installation.status(code))["reason"] == "code_missing"


async def test_where_metas_redirect_tells_no_account_a_popup_does(
    installation: Installation, page: Page
) -> None:
    await installation.meta.put_waba(number())
    code = await installation.start_onboarding(flow="redirect")
    await page.goto(f"{installation.environment['CONSOLE_URL']}/connect/{code}")
    back = f"{installation.environment['CONSOLE_URL']}{RETURN_PATH}"
    signup = await installation.meta.sign_up(tells_scopes=False, redirect_uri=back)
    slow = {"call": "debug_token", "seconds": 2.0}  # the page sees the reason by looking again
    await installation.meta.order("POST", "faults", slow)
    await installation.post_code(code, signup["code"])
    await page.reload()
    needed = REMEDIES["session_needed"].texts["en"]
    await expect(page.get_by_role("status")).to_have_text(needed, timeout=SECONDS)
    async with page.expect_popup() as popup:
        await begin(page)
    await (await popup.value).get_by_role("button", name="number").first.click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)


async def test_two_wabas_are_offered_by_their_names(installation: Installation, page: Page) -> None:
    await installation.meta.put_waba(number(), name="Bakery")
    its_number = number(COEXISTING, display_phone_number="15550001112")
    await installation.meta.put_waba(its_number, waba_id=SECOND, name="Café")
    code = await open_link(installation, page)
    async with page.expect_popup() as popup:
        await begin(page)
    dialog = await popup.value
    await dialog.get_by_label("and Café").check()
    await dialog.get_by_role("button", name="number").first.click()
    await page.get_by_label("Café").check(timeout=SECONDS)
    await expect(page.get_by_role("button", name="Connect", exact=True)).to_be_hidden()
    await page.get_by_role("button", name="Connect this account").click()
    await expect(page.get_by_role("status")).to_contain_text(DONE, timeout=SECONDS)
    assert (await installation.status(code))["waba_id"] == SECOND


async def test_too_many_tries_are_told_in_words(
    installation: Installation, chromium: Browser, conn: Conn
) -> None:
    await installation.meta.put_waba(number(pin="271828"))
    async with browser.open_page(chromium, "409") as page:
        code = await open_link(installation, page)
        await installation.complete_popup(code)
        await page.reload()
        await conn.execute("UPDATE whatsapp_onboarding SET pins = 10")
        await page.get_by_label("six-digit PIN").fill("271828", timeout=SECONDS)
        await page.get_by_role("button", name="Send").click()
        status = page.get_by_role("status")
        await expect(status).to_contain_text(WORDS["en"]["too_many_tries"])
        await expect(status).to_contain_text("Ask bakery for a new link")
        await expect(page.get_by_label("six-digit PIN")).to_be_hidden()


@pytest.mark.parametrize("language", ["en", "pt-BR"])
async def test_over_a_limit_and_in_an_outage_the_page_says_so_in_words(
    environment: dict[str, str], monkeypatch: MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("LIMIT_PER_ADDRESS", "1")
    headers = {"Accept": "text/html", "Accept-Language": f"{language};q=0.9"}
    words = WORDS["pt-BR" if language == "pt-BR" else "en"]
    async with console(environment) as http:
        async with http.get("/connect/unknown-code", headers=headers) as answer:
            assert answer.status == 404
            assert words["no_link_heading"] in await answer.text()
        for path in ("/connect/unknown-code", "/connect/return?state=x"):
            async with http.get(path, headers=headers) as answer:
                text = await answer.text()
                assert answer.status == 429
                assert int(answer.headers["Retry-After"]) > 0
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert words["limited"] in text
            assert f'lang="{language}"' in text
            assert words["try_again"] in text
        async with http.get("/connect/unknown-code") as answer:  # a program
            assert answer.content_type != "text/html"
