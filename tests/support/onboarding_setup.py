"""Start a whole installation for one test: the services, a simulated Meta and an API key."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from deploy.local.demo.connect_page import ConnectPage, open_connect_page
from services.console.api.onboarding import BASE
from services.ingress.app import PATH
from shared.store.pool import Conn, Pool, transaction
from tests.support.keys import make_key
from tests.support.running import console, ingress, processor
from tests.support.simulated import WABA, SimulatedMeta, simulated_meta
from tests.support.waiting import eventually

Json = dict[str, Any]
#: Seldom enough for the API's own limit of an address, however slow the machine.
POLL_SECONDS = 0.1
ONBOARDING = BASE
CONNECTIONS = "/api/v1/whatsapp/connections"
ORPHANS = "/api/v1/whatsapp/orphans"
CHECK = "/api/v1/whatsapp/check-connection"


@dataclass(slots=True)
class Installation:
    """The running services. `key` is the company's API key."""

    environment: dict[str, str]
    pool: Pool
    meta: SimulatedMeta
    http: aiohttp.ClientSession
    key: str

    async def request(
        self, method: str, path: str, body: Json | None = None, *, key: str | None = None,
        status: int = 200, headers: dict[str, str] | None = None,
    ) -> Json:  # fmt: skip
        """Call the API. Assert the status of the answer and return its JSON."""
        sent = {"Authorization": f"Bearer {key or self.key}"} | (headers or {})
        async with self.http.request(method, path, json=body, headers=sent) as answer:
            content: Json = await answer.json()
            assert answer.status == status, (answer.status, content)
            return content

    async def orphans(self) -> list[Json]:
        listed: list[Json] = (await self.request("GET", ORPHANS))["orphans"]
        return listed

    async def start_onboarding(self, organization: str = "bakery", **more: Any) -> str:
        """Start an onboarding. Return its tracking code."""
        body = {"organization_id": organization, **more}
        started = await self.request("POST", ONBOARDING, body, status=201)
        return str(started["tracking_code"])

    async def open_page(self, code: str) -> ConnectPage:
        """Open our page as a customer's browser does, without one."""
        url = f"{self.environment['CONSOLE_URL']}/connect/{code}"
        return await open_connect_page(self.http, url)

    async def come_back(self, url: URL | str, page: ConnectPage | None, *, status: int) -> str:
        """Return from Meta's dialog in the browser of `page`; None: in one that never was on it.

        Return the text of our answer, or where it redirects to.
        """
        headers = {} if page is None else page.headers
        async with self.http.get(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == status
            return answer.headers.get("Location") or await answer.text()

    async def post_on_page(self, code: str, what: str, body: Json) -> tuple[int, Json]:
        """Send a `pin`, `session`, `code` or `waba` as our page does. Return status and answer."""
        origin = {"Origin": self.environment["CONSOLE_URL"]}
        path = f"/connect/{code}/{what}"
        async with self.http.post(path, json=body, headers=origin) as answer:
            return answer.status, await answer.json()

    async def post_session(self, code: str, message: Json, *, status: int = 200) -> Json:
        """Post Meta's session message, as the browser does."""
        body = {"event": message["event"], "data": message["data"]}
        return await self.request("POST", f"{ONBOARDING}/{code}/session", body, status=status)

    async def post_code(self, code: str, meta_code: str, *, status: int = 200) -> Json:
        """Post Meta's code, as the browser does."""
        body = {"code": meta_code}
        return await self.request("POST", f"{ONBOARDING}/{code}/code", body, status=status)

    async def connect(
        self, organization: str = "bakery", event: str = "FINISH", **more: Any
    ) -> str:
        """Start an onboarding and complete its popup. Return its tracking code."""
        code = await self.start_onboarding(organization)
        await self.complete_popup(code, event, **more)
        return code

    async def complete_popup(self, code: str, event: str = "FINISH", **more: Any) -> Json:
        """Complete the popup of a started onboarding. Return the answer to its code."""
        signup = await self.meta.sign_up(event, **{"webhooks": True, **more})
        await self.post_session(code, signup["message"])
        return await self.post_code(code, signup["code"])

    async def status(self, code: str) -> Json:
        return await self.request("GET", f"{ONBOARDING}/{code}")

    async def until(self, code: str, *, reason: str | None = None, state: str = "") -> Json:
        """Wait until the onboarding has this reason, or its connection this state. Return it.

        With `state`, `reason` is the connection's reason.
        """

        async def reached() -> Json | None:
            await self.make_follow_ups_due()
            now = await self.status(code)
            connection = now["connection"] or {}
            if state:
                is_reached = connection.get("state") == state and (
                    reason is None or connection.get("reason") == reason
                )
            else:
                is_reached = now["reason"] == reason
            return now if is_reached else None

        return await eventually(reached, pause_seconds=POLL_SECONDS)

    async def until_active(self, code: str) -> Json:
        return await self.until(code, state="active")

    async def until_connection(self, state: str, waba_id: str = WABA) -> Json:
        async def reached() -> Json | None:
            await self.make_follow_ups_due()
            now = await self.request("GET", f"{CONNECTIONS}/{waba_id}")
            return now if now["state"] == state else None

        return await eventually(reached, pause_seconds=POLL_SECONDS)

    async def make_follow_ups_due(self) -> None:
        """End the delays of all pending follow-ups."""
        async with transaction(self.pool) as conn:
            await make_follow_ups_due(conn)

    async def calls(self, *names: str) -> list[tuple[str, str]]:
        """Return name and subject of Meta's calls so far. With `names`, return only those calls."""
        entries = await self.meta.calls()
        calls = [(entry["call"], entry["subject"]) for entry in entries]
        return [call for call in calls if not names or call[0] in names]


async def make_follow_ups_due(conn: Conn) -> None:
    """End the delays of follow-ups and of numbers, but for Meta's limits on a number."""
    await conn.execute(
        """
        UPDATE follow_ups SET due_at = now() WHERE id = ANY (ARRAY(
            SELECT id FROM follow_ups WHERE state = 'pending' AND due_at > now()
            FOR UPDATE SKIP LOCKED))
        """
    )
    await conn.execute(
        """
        UPDATE phone_numbers SET retry_at = now()
        WHERE retry_at > now() AND failure NOT IN ('register_limited', 'pin_limited')
        """
    )


@asynccontextmanager
async def open_installation(
    environment: dict[str, str], pool: Pool, *, with_processor: bool = True
) -> AsyncIterator[Installation]:
    async with AsyncExitStack() as stack:
        webhook_url = f"http://{environment['HOST']}:{environment['PORT']}{PATH}"
        meta = await stack.enter_async_context(
            simulated_meta(
                callback_url=webhook_url, port=URL(environment["META_GRAPH_URL"]).port or 0
            )
        )
        await stack.enter_async_context(ingress(environment))
        if with_processor:
            await stack.enter_async_context(processor(environment))
        http = await stack.enter_async_context(console(environment))
        async with transaction(pool) as conn:
            key = await make_key(conn)
        yield Installation(environment, pool, meta, http, key)


@asynccontextmanager
async def open_bare_installation(
    environment: dict[str, str], pool: Pool
) -> AsyncIterator[Installation]:
    """Start a simulated Meta and the ingress only. The test starts console and processor."""
    async with AsyncExitStack() as stack:
        webhook_url = f"http://{environment['HOST']}:{environment['PORT']}{PATH}"
        port = URL(environment["META_GRAPH_URL"]).port or 0
        meta = await stack.enter_async_context(simulated_meta(callback_url=webhook_url, port=port))
        meta.time = time.time()
        await stack.enter_async_context(ingress(environment))
        http = await stack.enter_async_context(aiohttp.ClientSession(environment["CONSOLE_URL"]))
        async with transaction(pool) as conn:
            key = await make_key(conn)
        yield Installation(environment, pool, meta, http, key)
