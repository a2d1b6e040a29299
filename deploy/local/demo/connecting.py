"""The demo's third part: customers connect in every possible way, the company checks them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from rich.table import Table

from deploy.local.demo.company import DEADLINE_SECONDS, Company, Json

#: How often the company checks all connections to measure the cache.
CHECKS = 40
PAUSE_SECONDS = 0.5

#: The Graph calls of the steps.
_PROVE = ["exchange_code", "debug_token", "read_waba"]
_SET_UP = ["read_numbers", "read_subscriptions", "subscribe"]


@dataclass(frozen=True, slots=True)
class ConnectingOutcome:
    title: str
    result: str
    calls: str
    came_true: bool


async def play(stack: Json) -> list[ConnectingOutcome]:
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        company = Company(http, stack)
        outcomes = [await _perform(company, *scene) for scene in _SCENES]
        return [*outcomes, await _measure_cache(company)]


Scene = Callable[[Company], Awaitable[str]]


async def _perform(
    company: Company, title: str, scene: Scene, expected: list[str], end: str = "active"
) -> ConnectingOutcome:
    """Play a scene.

    It came true if its WABA ends like this and Meta received exactly these calls, in this order.
    """
    company.last_call += len(await company.calls())
    waba_id = await scene(company)
    state = await company.until(waba_id, end)
    calls = await company.calls()
    names = [call["call"] for call in calls]
    are_successful = all(call["status"] == 200 for call in calls)
    came_true = state == end and names == expected and are_successful
    return ConnectingOutcome(title, state, ", ".join(names), came_true)


def _phone(number: int, **more: Any) -> Json:
    return {
        "phone_number_id": f"74000000000020{number}",
        "display_phone_number": f"1555000020{number}",
        **more,
    }


async def _popup(company: Company) -> str:
    waba_id = await company.create_waba(1, _phone(1))
    await company.popup("bakery", waba_id, "FINISH")
    return waba_id


async def _redirect(company: Company) -> str:
    waba_id = await company.create_waba(2, _phone(2))
    await company.redirect("pharmacy", waba_id)
    return waba_id


async def _waba_only(company: Company) -> str:
    waba_id = await company.create_waba(3)
    await company.popup("florist", waba_id, "FINISH_ONLY_WABA")
    return waba_id


async def _coexistence(company: Company) -> str:
    waba_id = await company.create_waba(4, _phone(4, is_on_biz_app=True))
    await company.popup("butcher", waba_id, "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    return waba_id


async def _three_numbers(company: Company) -> str:
    """The redirect names no number: each is set up by what Meta says of it."""
    fine, on_app = _phone(8), _phone(81, is_on_biz_app=True)
    waba_id = await company.create_waba(8, fine, on_app, _phone(82, verification="NOT_VERIFIED"))
    await company.redirect("clinic", waba_id)
    are_right = await company.until_numbers(waba_id, ["working", "working", "blocked"])
    return waba_id if are_right else "its numbers stand otherwise"


async def _orphan(company: Company) -> str:
    """The browser never returns. An operator claims the WABA for the organization that calls."""
    waba_id = await company.create_waba(5, _phone(5))
    await company.order("POST", "signups", {"waba_id": waba_id, "event": "FINISH"})
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        listed = await company.ask("GET", f"/orphans?after={int(waba_id) - 1}")
        if any(orphan["waba_id"] == waba_id for orphan in listed["orphans"]):
            break
        await asyncio.sleep(0.05)
    await company.start("grocer")  # the company names it for the first time
    claim = {"organization_id": "grocer", "actor": "ana", "reason": "they called"}
    await company.ask("POST", f"/orphans/{waba_id}/claim", claim)
    return waba_id


async def _move(company: Company) -> str:
    """A customer of agency A unshares its WABA, and logs in at agency B."""
    waba_id = await company.create_waba(6, _phone(6))
    await company.popup("agency-a", waba_id, "FINISH")
    await company.until(waba_id, "active")
    await asyncio.sleep(1)  # Meta's times are in whole seconds: later than the proof
    await company.order("POST", f"wabas/{waba_id}/events", {"event": "PARTNER_REMOVED"})
    await company.until(waba_id, "disconnected")
    await asyncio.sleep(1)  # and this proof later than that
    await company.popup("agency-b", waba_id, "FINISH")
    await company.until(waba_id, "active")
    connection = await company.ask("GET", f"/connections/{waba_id}")
    return waba_id if connection.get("organization_id") == "agency-b" else "not agency-b's"


_SCENES: list[tuple[str, Scene, list[str]] | tuple[str, Scene, list[str], str]] = [
    ("a customer connects in the popup", _popup, [*_PROVE, *_SET_UP, "register"]),
    ("a customer connects by the redirect", _redirect, [*_PROVE, *_SET_UP, "register"]),
    (
        "a WABA without a number: the customer is told to add one",
        _waba_only,
        [*_PROVE, *_SET_UP],
        "provisioning (no_number)",
    ),
    (
        "of three numbers one works, one stays on the app, one is not verified and stops no other",
        _three_numbers,
        [*_PROVE, *_SET_UP, "register", "sync", "sync"],
    ),
    (
        "coexistence: the number stays in the phone's app, its chats are synced once",
        _coexistence,
        [*_PROVE, *_SET_UP, "sync", "sync"],
    ),
    (
        "an operator claims an orphan: its token is fetched without the customer",
        _orphan,
        ["fetch_token", "debug_token", "read_waba", *_SET_UP, "register"],
    ),
    (
        "a customer leaves agency A at Meta and connects with agency B, whose it is from then on",
        _move,
        [*_PROVE, *_SET_UP, "register", *_PROVE, *_SET_UP],
    ),
]


async def _measure_cache(company: Company) -> ConnectingOutcome:
    """Check all connections again and again. Read the hit rate of the cache from its metric.

    Measure only after a round without a miss: a connection that changed in the last seconds is not
    cached at once.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    before = await _lookups(company)
    while time.monotonic() < deadline:
        await _check_all(company)
        now = await _lookups(company)
        if now["miss"] == before["miss"]:
            break
        before = now
        await asyncio.sleep(PAUSE_SECONDS)
    for _ in range(CHECKS):
        await _check_all(company)
    after = await _lookups(company)
    hits = after["hit"] - before["hit"]
    lookups = sum(after.values()) - sum(before.values())
    rate = hits / lookups if lookups else 0.0
    title = f"the company checks each connection {CHECKS} times"
    return ConnectingOutcome(title, f"{rate:.1%} of lookups answered by the cache", "", rate > 0.8)


async def _check_all(company: Company) -> None:
    for waba_id in company.wabas:
        await company.ask("GET", f"/check-connection?waba_id={waba_id}")
    for code in company.codes:
        await company.ask("GET", f"/onboarding/{code}")


async def _lookups(company: Company) -> dict[str, float]:
    """Return the metric `porteiro_cache_lookups_total` by outcome."""
    counts = {"hit": 0.0, "miss": 0.0, "down": 0.0}
    async with company.http.get(f"{company.stack['health']['console']}/metrics") as answer:
        for line in (await answer.text()).splitlines():
            if line.startswith("porteiro_cache_lookups_total{"):
                outcome = line.partition('outcome="')[2].partition('"')[0]
                counts[outcome] += float(line.rpartition(" ")[2])
    return counts


def table(outcomes: list[ConnectingOutcome]) -> Table:
    table = Table(title="How customers connect, and which calls Meta received")
    table.add_column("what happens", overflow="fold", ratio=4)
    table.add_column("result", ratio=2)
    table.add_column("calls to Meta", overflow="fold", ratio=6)
    table.add_column("", justify="center")
    for outcome in outcomes:
        mark = "[green]ok[/]" if outcome.came_true else "[bold red]NO[/]"
        table.add_row(outcome.title, outcome.result, outcome.calls, mark)
    return table
