"""The retry sweep: the processor's loops, run once for what is overdue."""

import time
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry

from shared.actions.due_rows import DueRows
from shared.actions.failures import FailureRecorder
from shared.actions.follow_up_context import FollowUpContext
from shared.actions.follow_up_worker import FollowUpWorker
from shared.actions.metrics import FollowUpMetrics, IntakeMetrics
from shared.actions.webhook_groups import WebhookGroups
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.settings.groups import (
    BodyKeySettings,
    DatabaseSettings,
    GraphSettings,
    RetrySettings,
    TokenKeySettings,
)
from shared.settings.load import hex_bytes, load
from shared.store.pool import open_pool

log = structlog.get_logger()

OVERDUE = timedelta(minutes=5)
#: It is fired every five minutes; what is left by then is the next one's.
MAX_SECONDS = 240


class SweepSettings(
    DatabaseSettings, BodyKeySettings, TokenKeySettings, RetrySettings, GraphSettings
):
    pass


async def sweep() -> None:
    """Harmless when run by many at once, and beside the processors: every row is claimed first."""
    settings = load(SweepSettings)
    ring = KeyRing(hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous))
    tokens = KeyRing(
        hex_bytes(settings.token_encryption_key, *settings.token_encryption_keys_previous)
    )
    registry = CollectorRegistry()
    metrics = IntakeMetrics(registry)
    recorder = FailureRecorder(settings.retry_seconds, metrics)
    until = time.monotonic() + MAX_SECONDS
    count = 0
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(url, name="retry-sweep", size=1))
        graph = await stack.enter_async_context(open_graph(settings, registry))
        work = DueRows(pool, ring, WebhookGroups(pool, ring, recorder, metrics), recorder)
        follow_ups = FollowUpWorker(
            FollowUpContext(pool, tokens, graph), settings.retry_seconds, FollowUpMetrics(registry)
        )
        while time.monotonic() < until:
            worked, _ = await work.work_once(overdue=OVERDUE)  # the loops need no nudges
            worked += await follow_ups.work_once(overdue=OVERDUE)
            if not worked:
                break
            count += worked
    log.info("retry_sweep.done", count=count)
