"""How the page looks where a customer may stand: no serious fault of accessibility, nothing wider
than the screen, and a picture of each in the folder of the test."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route, ViewportSize, expect

from services.console.connect.words import WORDS
from shared.domain.remedies import Language
from shared.store.pool import Conn
from tests.integration.console.test_page_ways_on import NO_POPUPS
from tests.support import browser
from tests.support.onboarding_setup import Installation
from tests.support.simulated import WABA, number


class Look(NamedTuple):
    name: str
    viewport: ViewportSize
    scheme: Literal["light", "dark"]


#: Each size and each color scheme once: axe takes a second a look.
LOOKS = (
    Look("desktop-light", {"width": 1280, "height": 900}, "light"),
    Look("phone-dark", {"width": 360, "height": 740}, "dark"),
)
LOGO = "https://cdn.example.test/logo.svg"
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48"><rect width="48" height="48"'
    ' fill="#7a4b1d"/><circle cx="24" cy="24" r="12" fill="#ffd27a"/></svg>'
)
RETURN_URL = "https://app.example.test/settings"
PIN_WABA, LIMITED_WABA, SECOND = "720000000000011", "720000000000012", "720000000000013"
NAME = "Padaria São João"

Scene = Callable[[Page], Awaitable[None]]


async def prepare(installation: Installation, conn: Conn) -> dict[str, str]:
    """Bring an onboarding to each place. Return their tracking codes."""

    async def start(**more: Any) -> str:
        return await installation.start_onboarding(return_url=RETURN_URL, **more)

    await installation.meta.put_waba(number(), name="Padaria Centro")
    await installation.meta.put_waba(waba_id=SECOND, name="Padaria Praia")
    for waba_id, number_id, pin in (
        (PIN_WABA, "740000000000071", "271828"),
        (LIMITED_WABA, "740000000000072", None),
    ):
        phone = number(number_id, display_phone_number=f"1555000{number_id[-4:]}", pin=pin)
        await installation.meta.put_waba(phone, waba_id=waba_id)
    limit = {"call": "register", "code": 133016, "subject": "740000000000072", "times": 100}
    await installation.meta.order("POST", "faults", limit)

    codes = {"start": await start(), "choice": await start(), "expired": await start()}
    both = await installation.meta.sign_up("FINISH_ONLY_WABA", also=[SECOND])
    await installation.post_code(codes["choice"], both["code"])
    await installation.until(codes["choice"], reason="waba_choice_needed")
    for name, waba_id in (("pin", PIN_WABA), ("limited", LIMITED_WABA), ("done", WABA)):
        codes[name] = await start()
        await installation.complete_popup(codes[name], waba_id=waba_id)
    await installation.until_active(codes["done"])
    await installation.until(codes["pin"], state="provisioning", reason="pin_needed")
    codes["refused"] = await start(organization="pharmacy")
    await installation.complete_popup(codes["refused"], waba_id=WABA)
    await installation.until(codes["refused"], reason="owned_by_another")
    await conn.execute(
        "UPDATE organizations SET display_name = $1, logo_url = $2 WHERE id = 'bakery'", NAME, LOGO
    )
    await conn.execute(
        "UPDATE whatsapp_onboarding SET expires_at = now()"
        " WHERE id = (SELECT id FROM whatsapp_onboarding ORDER BY id OFFSET 2 LIMIT 1)"
    )
    await conn.execute(
        "UPDATE follow_ups SET due_at = now() + interval '3 hours', reason = 'throttled'"
        " WHERE subject = $1 AND state = 'pending'",
        LIMITED_WABA,
    )
    return codes


def scenes(words: Mapping[str, str]) -> Mapping[str, Scene]:
    """Return what a customer does on the page before each picture."""
    name = words["start"]

    async def ask(page: Page) -> None:
        await page.get_by_role("button", name=name, exact=True).click()
        await expect(page.get_by_role("heading", level=2)).to_be_visible()

    async def be_blocked(page: Page) -> None:
        await ask(page)
        await page.get_by_role("button", name=words["go"]).click()
        await expect(page.get_by_role("status")).to_have_text(words["blocked"])

    async def choose(page: Page) -> None:
        await page.get_by_label("Praia").check()

    async def send_wrong_pin(page: Page) -> None:
        await page.get_by_label("PIN").fill("111111")
        await page.get_by_role("button", name=words["send"]).click()
        await expect(page.get_by_label("PIN")).to_have_value("")
        await expect(page.get_by_role("status")).to_contain_text("PIN")

    async def read(page: Page) -> None:
        await expect(page.get_by_role("status")).not_to_be_empty()

    return {
        "asked": ask, "blocked": be_blocked, "choice": choose, "pin": send_wrong_pin,
        "limited": read, "refused": read, "expired": read, "done": read,
    }  # fmt: skip


async def check(page: Page, folder: Path, name: str) -> None:
    """Take a picture of each look. Assert that it fits, and that axe finds no serious fault."""
    for look in LOOKS:
        await page.set_viewport_size(look.viewport)
        await page.emulate_media(color_scheme=look.scheme)
        await page.screenshot(path=folder / f"{name}-{look.name}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{name} is wider than a {look.name}"
        )
        edges = await page.locator("main").bounding_box()
        assert edges is not None
        assert edges["x"] >= 8, f"the card touches the edge of a {look.name}"
        assert edges["x"] + edges["width"] <= look.viewport["width"] - 8
        faults = (await Axe().run(page)).response["violations"]
        found = [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in faults]
        assert found == [], (name, look.name)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", ["en", "pt-BR"])
async def test_every_place_looks_right(
    installation: Installation,
    conn: Conn,
    tmp_path: Path,
    language: Language,
) -> None:
    codes = await prepare(installation, conn)
    console_url = installation.environment["CONSOLE_URL"]
    words = WORDS[language]
    async with browser.open_browser() as chromium:
        for name, scene in {"start": None, **scenes(words)}.items():
            async with new_page(chromium, language) as page:
                await page.route(LOGO, send_logo)
                if name == "blocked":
                    await page.add_init_script(NO_POPUPS)
                await page.goto(f"{console_url}/connect/{codes.get(name, codes['start'])}")
                heading = page.get_by_role("heading", level=1)
                who = "pharmacy" if name == "refused" else NAME
                title = words["done_heading" if name == "done" else "heading"]
                await expect(heading).to_have_text(title.replace("{organization}", who))
                if scene is not None:
                    await scene(page)
                await check(page, tmp_path, name)
        async with new_page(chromium, language) as page:
            await page.goto(f"{console_url}/connect/unknown")
            await check(page, tmp_path, "no-link")


async def send_logo(route: Route) -> None:
    await route.fulfill(body=PICTURE, content_type="image/svg+xml")


def new_page(chromium: Browser, language: Language) -> AbstractAsyncContextManager[Page]:
    """Open a page of a browser as a customer in Brazil may have it."""
    return browser.open_page(chromium, "404", locale=language, timezone_id="America/Sao_Paulo")
