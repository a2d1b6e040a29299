"""A whole house for one test: the services, a simulated Meta, and a company that calls the API."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from services.console.api.onboarding import BASE
from services.ingress.app import PATH
from shared.store import api_keys
from shared.store.pool import Conn, Pool, transaction
from tests.support.running import console, ingress, processor
from tests.support.simulated import WABA, SimulatedMeta, simulated_meta
from tests.support.waiting import eventually

Json = dict[str, Any]
ONBOARDING = BASE
CONNECTIONS = "/api/v1/whatsapp/connections"
ORPHANS = "/api/v1/whatsapp/orphans"
CHECK = "/api/v1/whatsapp/check-connection"


@dataclass(slots=True)
class House:
    """`key` is the company's."""

    environment: dict[str, str]
    pool: Pool
    meta: SimulatedMeta
    http: aiohttp.ClientSession
    key: str

    async def ask(
        self, method: str, path: str, body: Json | None = None, *, key: str | None = None,
        status: int = 200, headers: dict[str, str] | None = None,
    ) -> Json:  # fmt: skip
        """The answer's JSON, which must come with this status."""
        sent = {"Authorization": f"Bearer {key or self.key}"} | (headers or {})
        async with self.http.request(method, path, json=body, headers=sent) as answer:
            told: Json = await answer.json()
            assert answer.status == status, (answer.status, told)
            return told

    async def start(self, organization: str = "bakery", **more: Any) -> str:
        """A new onboarding's tracking code."""
        body = {"organization_id": organization, **more}
        started = await self.ask("POST", ONBOARDING, body, status=201)
        return str(started["tracking_code"])

    async def say(self, code: str, message: Json, *, status: int = 200) -> Json:
        """The browser hands on Meta's message."""
        body = {"event": message["event"], "data": message["data"]}
        return await self.ask("POST", f"{ONBOARDING}/{code}/session", body, status=status)

    async def hand_in(self, code: str, meta_code: str, *, status: int = 200) -> Json:
        body = {"code": meta_code}
        return await self.ask("POST", f"{ONBOARDING}/{code}/code", body, status=status)

    async def connect(
        self, organization: str = "bakery", event: str = "FINISH", **more: Any
    ) -> str:
        """A customer goes through the popup; the onboarding's tracking code."""
        code = await self.start(organization)
        await self.go_through(code, event, **more)
        return code

    async def go_through(self, code: str, event: str = "FINISH", **more: Any) -> Json:
        """The popup of an onboarding that was started; what its code came to."""
        signed = await self.meta.sign_up(event, **{"webhooks": True, **more})
        await self.say(code, signed["message"])
        return await self.hand_in(code, signed["code"])

    async def status(self, code: str) -> Json:
        return await self.ask("GET", f"{ONBOARDING}/{code}")

    async def until(self, code: str, *, reason: str | None = None, state: str = "") -> Json:
        """The onboarding once its reason, or its connection's state, is this."""

        async def look() -> Json | None:
            await self.hurry()
            now = await self.status(code)
            conn = now["connection"] or {}
            if state:
                is_there = conn.get("state") == state and (
                    reason is None or conn.get("reason") == reason
                )
            else:
                is_there = now["reason"] == reason
            return now if is_there else None

        return await eventually(look)

    async def until_active(self, code: str) -> Json:
        return await self.until(code, state="active")

    async def until_connection(self, state: str, waba_id: str = WABA) -> Json:
        async def look() -> Json | None:
            await self.hurry()
            now = await self.ask("GET", f"{CONNECTIONS}/{waba_id}")
            return now if now["state"] == state else None

        return await eventually(look)

    async def hurry(self) -> None:
        """As if the delays of what is to be tried again were over."""
        async with transaction(self.pool) as conn:
            await age(conn)

    async def calls(self, *names: str) -> list[tuple[str, str]]:
        """What Meta was asked so far, name and subject; of these names alone, if any."""
        entries = await self.meta.calls()
        told = [(entry["call"], entry["subject"]) for entry in entries]
        return [one for one in told if not names or one[0] in names]


async def age(conn: Conn) -> None:
    await conn.execute("UPDATE follow_ups SET due_at = now() WHERE state = 'pending'")


@asynccontextmanager
async def open_house(
    environment: dict[str, str], pool: Pool, *, with_processor: bool = True
) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        door = f"http://{environment['HOST']}:{environment['PORT']}{PATH}"
        meta = await stack.enter_async_context(
            simulated_meta(callback_url=door, port=URL(environment["META_GRAPH_URL"]).port or 0)
        )
        await stack.enter_async_context(ingress(environment))
        if with_processor:
            await stack.enter_async_context(processor(environment))
        http = await stack.enter_async_context(console(environment))
        async with transaction(pool) as conn:
            key = await api_keys.create(conn, "test", None)
        yield House(environment, pool, meta, http, key)


@asynccontextmanager
async def house_of_processes(environment: dict[str, str], pool: Pool) -> AsyncIterator[House]:
    """A simulated Meta, the ingress and an API key; console and processor are the test's."""
    async with AsyncExitStack() as stack:
        door = f"http://{environment['HOST']}:{environment['PORT']}{PATH}"
        port = URL(environment["META_GRAPH_URL"]).port or 0
        meta = await stack.enter_async_context(simulated_meta(callback_url=door, port=port))
        meta.time = time.time()
        await stack.enter_async_context(ingress(environment))
        http = await stack.enter_async_context(aiohttp.ClientSession(environment["CONSOLE_URL"]))
        async with transaction(pool) as conn:
            key = await api_keys.create(conn, "test", None)
        yield House(environment, pool, meta, http, key)
