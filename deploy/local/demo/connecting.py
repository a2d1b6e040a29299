"""The demo's third part: customers connect, by every way there is, and the company looks on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from rich.table import Table
from yarl import URL

DEADLINE_SECONDS = 20.0
#: The steady phase: how often the company asks how its customers' connections stand.
LOOKS = 40
PAUSE_SECONDS = 0.5

_API = "/api/v1/whatsapp"
_PROVE = ["exchange_code", "debug_token", "read_waba"]
_SET_UP = ["read_numbers", "read_subscriptions", "subscribe"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    title: str
    became: str
    calls: str
    came_true: bool


@dataclass(slots=True)
class Company:
    """The company's backend, and its customers' browsers."""

    http: aiohttp.ClientSession
    facts: Json
    seen: int = 0
    wabas: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        headers = {"Authorization": f"Bearer {self.facts['api_key']}"}
        url = f"{self.facts['console']}{_API}{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            told: Json = await answer.json()
            return told

    async def order(self, method: str, path: str, body: Json | None = None) -> Json:
        url = f"{self.facts['simulated_meta']}/simulator/{path}"
        async with self.http.request(method, url, json=body, raise_for_status=True) as answer:
            told: Json = await answer.json()
            return told

    async def have_waba(self, number: int, *phones: Json) -> str:
        """A customer's WABA at Meta."""
        waba_id = f"72000000000020{number}"
        body = {"business_id": f"73000000000020{number}", "numbers": list(phones)}
        await self.order("PUT", f"wabas/{waba_id}", body)
        self.wabas.append(waba_id)
        return waba_id

    async def start(self, organization: str, **more: Any) -> Json:
        body = {"organization_id": organization, **more}
        started = await self.ask("POST", "/onboarding", body)
        self.codes.append(started["tracking_code"])
        return started

    async def popup(self, organization: str, waba_id: str, event: str) -> None:
        """Through Meta's dialog in a popup, whose message and code the browser hands on."""
        code = (await self.start(organization))["tracking_code"]
        signed = await self.order("POST", "signups", {"waba_id": waba_id, "event": event})
        message = {name: signed["message"][name] for name in ("event", "data")}
        await self.ask("POST", f"/onboarding/{code}/session", message)
        await self.ask("POST", f"/onboarding/{code}/code", {"code": signed["code"]})

    async def redirect(self, organization: str, waba_id: str) -> None:
        """Through Meta's dialog in the same window, which sends the browser back with the code."""
        started = await self.start(organization, flow="redirect")
        dialog = URL(started["launch"]["dialog_url"])
        form = {**dialog.query, "waba_id": waba_id, "event": "FINISH"}
        async with self.http.post(dialog.with_query(None), data=form, raise_for_status=True):
            pass

    async def calls(self) -> list[Json]:
        """What Meta was asked since the last time."""
        found: list[Json] = (await self.order("GET", f"calls?after={self.seen}"))["calls"]
        return found

    async def until_active(self, waba_id: str) -> str:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            now = await self.ask("GET", f"/connections/{waba_id}")
            state = str(now.get("state", "unknown"))
            if state == "active" or time.monotonic() > deadline:
                return state if not now.get("reason") else f"{state} ({now['reason']})"
            await asyncio.sleep(0.05)


async def play(facts: Json) -> list[Told]:
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        company = Company(http, facts)
        return [await _tell(company, *scene) for scene in _SCENES] + [await _steady(company)]


Scene = Callable[[Company], Awaitable[str]]


async def _tell(company: Company, title: str, scene: Scene, expected: list[str]) -> Told:
    """A scene came true if its WABA is active and Meta was asked exactly this, in this order."""
    company.seen += len(await company.calls())
    waba_id = await scene(company)
    state = await company.until_active(waba_id)
    asked = await company.calls()
    names = [call["call"] for call in asked]
    are_taken = all(call["status"] == 200 for call in asked)
    came_true = state == "active" and names == expected and are_taken
    return Told(title, state, ", ".join(names), came_true)


def _phone(number: int, **more: Any) -> Json:
    return {
        "phone_number_id": f"74000000000020{number}",
        "display_phone_number": f"1555000020{number}",
        **more,
    }


async def _popup(company: Company) -> str:
    waba_id = await company.have_waba(1, _phone(1))
    await company.popup("bakery", waba_id, "FINISH")
    return waba_id


async def _redirect(company: Company) -> str:
    waba_id = await company.have_waba(2, _phone(2))
    await company.redirect("pharmacy", waba_id)
    return waba_id


async def _waba_only(company: Company) -> str:
    waba_id = await company.have_waba(3)
    await company.popup("florist", waba_id, "FINISH_ONLY_WABA")
    return waba_id


async def _coexistence(company: Company) -> str:
    waba_id = await company.have_waba(4, _phone(4, is_on_biz_app=True))
    await company.popup("butcher", waba_id, "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    return waba_id


async def _orphan(company: Company) -> str:
    """The browser never came back; an operator gives the WABA to whoever calls about it."""
    waba_id = await company.have_waba(5, _phone(5))
    await company.order("POST", "signups", {"waba_id": waba_id, "event": "FINISH"})
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        listed = await company.ask("GET", f"/orphans?after={int(waba_id) - 1}")
        if any(orphan["waba_id"] == waba_id for orphan in listed["orphans"]):
            break
        await asyncio.sleep(0.05)
    claim = {"organization_id": "grocer", "actor": "ana", "reason": "they called"}
    await company.ask("POST", f"/orphans/{waba_id}/claim", claim)
    return waba_id


_SCENES: list[tuple[str, Scene, list[str]]] = [
    ("a customer connects in the popup", _popup, [*_PROVE, *_SET_UP, "register"]),
    ("another by the redirect", _redirect, [*_PROVE, *_SET_UP, "register"]),
    ("a WABA without a number", _waba_only, [*_PROVE, *_SET_UP]),
    (
        "coexistence: the number stays on the phone, its chats are synced once",
        _coexistence,
        [*_PROVE, *_SET_UP, "sync", "sync"],
    ),
    (
        "an orphan is claimed: its token is fetched without the customer",
        _orphan,
        ["fetch_token", "debug_token", *_SET_UP, "register"],
    ),
]


async def _steady(company: Company) -> Told:
    """The company asks again and again how they stand: the cache's hit rate, from its metric.

    Steady is what has not changed for some seconds: what did is not cached at once.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    before = await _lookups(company)
    while time.monotonic() < deadline:
        await _look(company)
        now = await _lookups(company)
        if now["miss"] == before["miss"]:
            break
        before = now
        await asyncio.sleep(PAUSE_SECONDS)
    for _ in range(LOOKS):
        await _look(company)
    after = await _lookups(company)
    hits = after["hit"] - before["hit"]
    asked = sum(after.values()) - sum(before.values())
    rate = hits / asked if asked else 0.0
    title = f"the company asks {LOOKS} times how each of them stands"
    return Told(title, f"{rate:.1%} of look-ups from the cache", "", rate > 0.8)


async def _look(company: Company) -> None:
    for waba_id in company.wabas:
        await company.ask("GET", f"/check-connection?waba_id={waba_id}")
    for code in company.codes:
        await company.ask("GET", f"/onboarding/{code}")


async def _lookups(company: Company) -> dict[str, float]:
    """`porteiro_cache_lookups_total` by outcome."""
    counts = {"hit": 0.0, "miss": 0.0, "down": 0.0}
    async with company.http.get(f"{company.facts['health']['console']}/metrics") as answer:
        for line in (await answer.text()).splitlines():
            if line.startswith("porteiro_cache_lookups_total{"):
                outcome = line.partition('outcome="')[2].partition('"')[0]
                counts[outcome] += float(line.rpartition(" ")[2])
    return counts


def table(told: list[Told]) -> Table:
    table = Table(title="Who connects, and what Meta was asked for it")
    table.add_column("what happens", overflow="fold", ratio=4)
    table.add_column("became", ratio=2)
    table.add_column("Meta was asked", overflow="fold", ratio=6)
    table.add_column("", justify="center")
    for one in told:
        mark = "[green]ok[/]" if one.came_true else "[bold red]NO[/]"
        table.add_row(one.title, one.became, one.calls, mark)
    return table
