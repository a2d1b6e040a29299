"""The database, for the commands."""

from collections.abc import Awaitable, Callable

from services.scheduler.answers import Answer
from shared.crypto import KeyRing
from shared.process import crash_points
from shared.settings.groups import BodyKeySettings, DatabaseSettings
from shared.settings.load import load
from shared.store.pool import Conn, Pool, open_pool, transaction


async def in_transaction(work: Callable[[Conn], Awaitable[Answer | None]]) -> None:
    """Run `work` in one transaction on the database of DATABASE_URL. Then say its answer."""
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="porteiro", size=1) as pool, transaction(pool) as conn:
        answer = await work(conn)
    if answer is not None:
        answer.say()


class SealedSettings(DatabaseSettings, BodyKeySettings):
    pass


async def with_bodies(work: Callable[[Pool, KeyRing], Awaitable[None]]) -> None:
    """Run `work` with the database and the keys of bodies."""
    settings = load(SealedSettings)
    crash_points.arm(settings.crash_at)
    ring = KeyRing(settings.body_keys)
    url = settings.database_url.get_secret_value()
    async with open_pool(url, name="dead-letters", size=1) as pool:
        await work(pool, ring)
