"""Run the simulated Meta: a real HTTP server to develop against. Orders go to `/simulator/...`."""

from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web
from pydantic import Field, SecretStr

from deploy.local.simulated_meta.app import create_app
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.world import MetaApp
from shared.process.lifecycle import Stop, run
from shared.settings.groups import Port, Settings
from shared.settings.load import load


class SimulatedMetaSettings(Settings):
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: Port = Field(8090, description="the port of the Graph API and the simulator's orders")
    callback_url: str = Field(
        description="the URL that webhooks are sent to, http://host:port/path"
    )
    meta_app_id: str = Field(description="the app's id")
    meta_app_secret: SecretStr = Field(description="the secret webhooks are signed with")
    meta_app_access_token: SecretStr = Field(description="the app's own token, id|secret")
    meta_system_user_token: SecretStr = Field(description="the token of our own system user")


async def main(stop: Stop) -> None:
    settings = load(SimulatedMetaSettings)
    meta_app = MetaApp(
        app_id=settings.meta_app_id,
        callback_url=settings.callback_url,
        secret=settings.meta_app_secret.get_secret_value(),
        access_token=settings.meta_app_access_token.get_secret_value(),
        system_user_token=settings.meta_system_user_token.get_secret_value(),
    )
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sender = Sender(session, [meta_app.callback_url], meta_app.secret)
        stack.push_async_callback(sender.close)
        app = create_app(sender, meta_app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, settings.host, settings.port).start()
        await stop.wait()


if __name__ == "__main__":
    run("simulated_meta", main)
