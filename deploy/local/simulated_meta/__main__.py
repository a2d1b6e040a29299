"""The simulated Meta: a real HTTP server to develop against. Orders go to `/simulator/...`."""

import random
from base64 import b64decode
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Annotated, Any

import aiohttp
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.writing import Signature, batched, write
from shared.lifecycle import Stop, run
from shared.settings import Port, Settings, load


class SimulatedMetaSettings(Settings):
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: Port = Field(8090, description="a port for the Graph API and the simulator's orders")
    callback_url: str = Field(description="where webhooks are sent, http://host:port/path")
    meta_app_secret: SecretStr = Field(description="the secret webhooks are signed with")


def _is_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


class Order(BaseModel):
    """What to send: `bodies` are written as Meta writes them, `raw` (base64) goes as it is."""

    model_config = ConfigDict(extra="forbid")

    bodies: list[dict[str, Any]] = []
    raw: list[Annotated[str, AfterValidator(_is_base64)]] = []
    batch: int = Field(1, ge=1, le=1000)
    copies: int = Field(1, ge=1, le=100)
    shuffle: bool = False
    seed: int = 0
    signature: Signature = "right"

    def posts(self) -> list[bytes]:
        once = [write(body) for body in batched(self.bodies, self.batch)]
        posts = (once + [b64decode(raw) for raw in self.raw]) * self.copies
        if self.shuffle:
            random.Random(self.seed).shuffle(posts)  # noqa: S311 - an order, not a secret
        return posts


def create_app(sender: Sender) -> web.Application:
    async def order(request: web.Request) -> web.Response:
        """Send webhooks; answers when each was tried once, with its status and seconds."""
        try:
            wanted = Order.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"error": error.errors(include_url=False)}, status=400)
        sent = await sender.send(wanted.posts(), wanted.signature)
        return web.json_response({"sent": [asdict(one) for one in sent]})

    async def ledger(_: web.Request) -> web.Response:
        return web.json_response({"sent": sender.ledger()})

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/simulator/webhooks", order)
    app.router.add_get("/simulator/webhooks", ledger)
    return app


async def main(stop: Stop) -> None:
    settings = load(SimulatedMetaSettings)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sender = Sender(session, settings.callback_url, settings.meta_app_secret.get_secret_value())
        stack.push_async_callback(sender.close)
        runner = web.AppRunner(create_app(sender), access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, settings.host, settings.port).start()
        await stop.wait()


if __name__ == "__main__":
    run("simulated_meta", main)
