"""An outage is no try: what is held is handed back, at once or as soon as that can be done."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from shared.actions.failing import Failing
from shared.actions.group import Groups
from shared.actions.metrics import WorkMetrics
from shared.actions.working import Work
from shared.crypto import KeyRing
from shared.store import webhooks
from shared.store.due import Claim
from shared.store.pool import Connection, open_pool
from tests.integration.store.samples import make_arrival
from tests.proxy import Proxy, open_proxy

REST_OVER = "UPDATE webhook_log SET lease_until = now() - interval '1 s'"


@pytest.mark.parametrize("database", ["answers", "away"])
async def test_a_try_the_servers_ended_is_not_counted(
    database: str, database_url: str, conn: Connection, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    is_away = database == "away"
    await webhooks.insert(conn, ring, [make_arrival() for _ in range(3)])
    metrics = WorkMetrics(CollectorRegistry())
    failing = Failing((30, 300, 1800), metrics)
    async with open_proxy(database_url) as proxy, open_pool(proxy.url, name="t", size=1) as pool:
        groups = Groups(pool, ring, failing, metrics)
        work = Work(pool, ring, groups, failing)
        with monkeypatch.context() as patched:
            patched.setattr(groups, "split_laid_down", _interrupted(proxy, is_away=is_away))
            with pytest.raises(OSError, match="interrupted"):
                await work.work_once()
        await proxy.heal()
        tries = await conn.fetchval("SELECT sum(attempts) FROM webhook_log")
        assert tries == (3 if is_away else 0)
        assert await work.work_once() == (0, [])
        assert await conn.fetchval("SELECT sum(attempts) FROM webhook_log") == 0
        await conn.execute(REST_OVER)
        assert await work.work_once() == (3, [])
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 3


def _interrupted(proxy: Proxy, *, is_away: bool) -> Callable[[Sequence[Claim]], Awaitable[None]]:
    async def split(_: Sequence[Claim]) -> None:
        if is_away:
            await proxy.cut()
        raise OSError("interrupted")

    return split
