"""The database, for commands that need one transaction."""

from collections.abc import Awaitable, Callable

from shared.settings.groups import DatabaseSettings
from shared.settings.load import load
from shared.store.pool import Conn, open_pool, transaction


async def in_transaction(work: Callable[[Conn], Awaitable[None]]) -> None:
    """Run `work` in one transaction on the database of DATABASE_URL."""
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="porteiro", size=1) as pool, transaction(pool) as conn:
        await work(conn)
