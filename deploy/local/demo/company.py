"""The company's backend, and the browsers of its customers."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from deploy.local.demo.connect_page import open_connect_page

DEADLINE_SECONDS = 20.0
_API = "/api/v1/whatsapp"

Json = dict[str, Any]


@dataclass(slots=True)
class Company:
    http: aiohttp.ClientSession
    stack: Json
    #: The number of the last Graph call of earlier scenes.
    last_call: int = 0
    wabas: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call Porteiro's API. Return the JSON of the answer."""
        headers = {"Authorization": f"Bearer {self.stack['api_key']}"}
        url = f"{self.stack['console']}{_API}{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            content: Json = await answer.json()
            return content

    async def order(self, method: str, path: str, body: Json | None = None) -> Json:
        """Send an order to the simulated Meta. Return the JSON of the answer."""
        url = f"{self.stack['simulated_meta']}/simulator/{path}"
        async with self.http.request(method, url, json=body, raise_for_status=True) as answer:
            content: Json = await answer.json()
            return content

    async def create_waba(self, number: int, *phones: Json) -> str:
        """Create a customer's WABA at Meta. Return its id."""
        waba_id = f"72000000000020{number}"
        body = {"business_id": f"73000000000020{number}", "numbers": list(phones)}
        await self.order("PUT", f"wabas/{waba_id}", body)
        self.wabas.append(waba_id)
        return waba_id

    async def start(self, organization: str, **more: Any) -> Json:
        """Start an onboarding. Return the API's answer."""
        body = {"organization_id": organization, **more}
        started = await self.ask("POST", "/onboarding", body)
        self.codes.append(started["tracking_code"])
        return started

    async def popup(self, organization: str, waba_id: str, event: str) -> None:
        """Finish Meta's dialog in a popup. The browser sends its message and code to the API."""
        code = (await self.start(organization))["tracking_code"]
        signed = await self.order("POST", "signups", {"waba_id": waba_id, "event": event})
        message = {name: signed["message"][name] for name in ("event", "data")}
        await self.ask("POST", f"/onboarding/{code}/session", message)
        await self.ask("POST", f"/onboarding/{code}/code", {"code": signed["code"]})

    async def redirect(self, organization: str, waba_id: str) -> None:
        """Finish Meta's dialog in the same window. It redirects the browser back with the code."""
        started = await self.start(organization, flow="redirect")
        page = await open_connect_page(self.http, started["launch"]["page_url"])
        async with self.http.get(
            await page.finish_dialog(waba_id), headers=page.headers, raise_for_status=True
        ):
            pass

    async def calls(self) -> list[Json]:
        """Return the Graph calls after `last_call`."""
        calls: list[Json] = (await self.order("GET", f"calls?after={self.last_call}"))["calls"]
        return calls

    async def until(self, waba_id: str, wanted: str) -> str:
        """Wait until the connection is in this state: its name, or `name (reason)`. Return its last
        state, with its reason."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            connection = await self.ask("GET", f"/connections/{waba_id}")
            state = str(connection.get("state", "unknown"))
            reason = connection.get("reason")
            text = f"{state} ({reason})" if reason else state
            if wanted in (state, text) or time.monotonic() > deadline:
                return text
            await asyncio.sleep(0.05)

    async def until_numbers(self, waba_id: str, wanted: list[str]) -> bool:
        """Wait until the connection's numbers stand like this. Return whether they do."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            connection = await self.ask("GET", f"/connections/{waba_id}")
            stand = [number["state"] for number in connection.get("numbers", [])]
            if stand == wanted or time.monotonic() > deadline:
                return stand == wanted
            await asyncio.sleep(0.05)
