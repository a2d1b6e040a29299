"""How far a reader walks: docs/architecture.md tells these numbers."""

import time
from functools import partial

from prometheus_client import CollectorRegistry

from services.processor.follow_ups.context import FollowUpContext
from services.processor.follow_ups.handlers import GRAPH_LOOPS, graph_handlers
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.follow_ups.worker import FollowUpWorker
from shared.cache import open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.settings.load import load
from shared.settings.processor import ProcessorSettings
from shared.store.connections import failed_calls
from shared.store.pool import Conn, Pool
from tests.support import running
from tests.support.onboarding_setup import open_installation
from tests.support.sending import message, post
from tests.support.simulated import number
from tests.support.waiting import eventually
from tests.support.walks import followed


async def test_a_message_from_meta_to_its_rows(environment: dict[str, str], conn: Conn) -> None:
    async def is_processed() -> bool:
        return bool(await conn.fetchval("SELECT processed FROM webhook_log"))

    async with running.ingress(environment) as client, running.processor(environment):
        with followed() as walk:
            assert await post(client, message(1)) == 200
            await eventually(is_processed)
    assert len(walk.files) <= 29, sorted(walk.files)
    assert walk.turns_back <= 12


async def test_an_onboarding_from_its_start_to_an_active_connection(
    environment: dict[str, str], pool: Pool
) -> None:
    settings, registry = load(ProcessorSettings), CollectorRegistry()
    async with (
        open_installation(environment, pool, with_processor=False) as installation,
        open_redis(environment["REDIS_URL"]) as redis,
        open_graph(settings, registry, redis, partial(failed_calls.keep, pool)) as graph,
    ):
        installation.meta.time = time.time()
        await installation.meta.put_waba(number())
        context = FollowUpContext(pool, KeyRing(settings.token_keys), graph, settings.retry_seconds)
        metrics = FollowUpMetrics(registry)
        worker = FollowUpWorker(
            pool, graph_handlers(context), settings.retry_seconds, metrics, GRAPH_LOOPS[0]
        )
        with followed() as walk:
            code = await installation.connect(webhooks=False)
            while await worker.work_once():
                continue
        assert (await installation.status(code))["connection"]["state"] == "active"
    assert len(walk.files) <= 54, sorted(walk.files)
    assert walk.turns_back <= 110, walk.turns_back
