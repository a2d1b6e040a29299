"""Run a simulated Meta in this process. The test sets its clock and receives its webhooks."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local.simulated_meta.access import proof_of
from deploy.local.simulated_meta.app import WORLD, create_app
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.world import MetaApp, World
from deploy.local.simulated_meta.writing import headers
from tests.support.environment import APP_ID, APP_SECRET, SYSTEM_TOKEN, VERIFY_TOKEN
from tests.support.waiting import eventually

APP_TOKEN = f"{APP_ID}|{APP_SECRET}"
WABA, BUSINESS = "720000000000010", "730000000000020"
NUMBER, PHONE = "740000000000060", "15550001111"
COEXISTING = "740000000000061"
START = 1_790_000_000.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: Json
    headers: Json

    @property
    def error(self) -> tuple[int, int | None]:
        """Return Meta's code and subcode."""
        error = self.body["error"]
        assert error["message"]
        assert error["type"]
        assert error["fbtrace_id"]
        return error["code"], error.get("error_subcode")


@dataclass(slots=True)
class SimulatedMeta:
    session: aiohttp.ClientSession
    url: str = ""
    time: float = START
    webhooks: list[Json] = field(default_factory=list)
    world: World | None = None

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        signature = headers(body, APP_SECRET)["X-Hub-Signature-256"]
        assert request.headers["X-Hub-Signature-256"] == signature
        self.webhooks.append(json.loads(body))
        return web.Response()

    async def verify(self, request: web.Request) -> web.Response:
        """Answer as a webhook endpoint must: the challenge, if the verify token is ours."""
        is_ours = request.query["hub.verify_token"] == VERIFY_TOKEN
        return web.Response(text=request.query["hub.challenge"], status=200 if is_ours else 403)

    async def order(self, method: str, path: str, body: Json | None = None) -> Json:
        async with self.session.request(method, f"{self.url}/simulator/{path}", json=body) as reply:
            answer: Json = await reply.json()
            return answer | ({"status": reply.status} if reply.status != 200 else {})

    async def call(
        self, method: str, path: str, token: str = "", *, proof: str | None = None, **more: Any
    ) -> Answered:
        """Call the Graph API with a token and its proof. Pass `more` to aiohttp."""
        proof = proof_of(token, APP_SECRET) if proof is None else proof
        params = more.pop("params", {}) | ({"appsecret_proof": proof} if token and proof else {})
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(
            method, f"{self.url}/v25.0/{path}", params=params, headers=bearer, **more
        ) as reply:
            body = json.loads(await reply.text())
            return Answered(reply.status, body, dict(reply.headers))

    async def put_waba(self, *numbers: Json, waba_id: str = WABA, **more: Any) -> None:
        body = {"business_id": BUSINESS, "numbers": list(numbers), **more}
        assert await self.order("PUT", f"wabas/{waba_id}", body) == {"waba_id": waba_id}

    async def sign_up(self, event: str = "FINISH", **more: Any) -> Json:
        body = {"waba_id": WABA, "event": event, "webhooks": False, **more}
        return await self.order("POST", "signups", body)

    async def exchange(self, code: str, **more: str) -> Answered:
        params = {"client_id": APP_ID, "client_secret": APP_SECRET, "code": code}
        return await self.call("GET", "oauth/access_token", params=params | more)

    async def token(self, event: str = "FINISH", **more: Any) -> str:
        """Return the business token of a new signup."""
        signup = await self.sign_up(event, **more)
        answer = await self.exchange(signup["code"])
        token: str = answer.body["access_token"]
        return token

    async def debug(self, token: str) -> Json:
        answer = await self.call(
            "GET", "debug_token", APP_TOKEN, proof="", params={"input_token": token}
        )
        assert answer.status == 200
        data: Json = answer.body["data"]
        return data

    async def fetch(self, **more: Any) -> Answered:
        more = {"data": {"fetch_only": "true"}} | more
        return await self.call(
            "POST", f"{BUSINESS}/system_user_access_tokens", SYSTEM_TOKEN, **more
        )

    async def happen(self, event: str, **more: Any) -> Json:
        return await self.order("POST", f"wabas/{WABA}/events", {"event": event, **more})

    async def calls(self, after: int = 0) -> list[Json]:
        answer = await self.order("GET", f"calls?after={after}")
        entries: list[Json] = answer["calls"]
        return entries

    def is_subscribed(self) -> bool:
        assert self.world is not None
        return self.world.waba(WABA).is_subscribed

    async def changes(self, count: int) -> list[tuple[str, Json]]:
        """Wait for `count` webhooks. Return the entry id and the change of each."""

        async def are_received() -> bool:
            return len(self.webhooks) >= count

        await eventually(are_received)
        entries = [webhook["entry"][0] for webhook in self.webhooks[:count]]
        return [(entry["id"], entry["changes"][0]) for entry in entries]


def number(number_id: str = NUMBER, **more: Any) -> Json:
    return {"phone_number_id": number_id, "display_phone_number": PHONE, **more}


def coexisting() -> Json:
    return number(COEXISTING, is_on_biz_app=True)


@asynccontextmanager
async def simulated_meta(
    *, callback_url: str | None = None, port: int = 0
) -> AsyncIterator[SimulatedMeta]:
    """Run it on `port`, or on a free one. Send webhooks to `callback_url`, or collect them."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        meta = SimulatedMeta(session)
        if callback_url is None:
            receiver = web.Application()
            receiver.router.add_post("/webhook", meta.receive)
            receiver.router.add_get("/webhook", meta.verify)
            callback = await stack.enter_async_context(TestServer(receiver))
            callback_url = str(callback.make_url("/webhook"))
        sender = Sender(session, [callback_url], APP_SECRET)
        stack.push_async_callback(sender.close)
        # Our calls must have their proof.
        app = MetaApp(
            APP_ID, callback_url, APP_SECRET, APP_TOKEN, SYSTEM_TOKEN, requires_proof=True
        )
        served = create_app(sender, app, now=lambda: meta.time)
        meta.world = served[WORLD]
        server = TestServer(served, port=port or None)
        await stack.enter_async_context(server)
        meta.url = str(server.make_url("")).rstrip("/")
        yield meta
