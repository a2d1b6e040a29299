"""The retry sweep: the processor's loops, run once for overdue rows."""

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
#: The sweep is scheduled every five minutes. It leaves the remaining rows to the next sweep.
MAX_SECONDS = 240


class SweepSettings(
    DatabaseSettings, BodyKeySettings, TokenKeySettings, RetrySettings, GraphSettings
):
    pass


async def sweep() -> None:
    """Process overdue rows until none is left or MAX_SECONDS have passed.

    Safe to run many times at once and beside the processors: each row is leased first.
    """
    settings = load(SweepSettings)
    body_ring = KeyRing(
        hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous)
    )
    token_ring = KeyRing(
        hex_bytes(settings.token_encryption_key, *settings.token_encryption_keys_previous)
    )
    registry = CollectorRegistry()
    metrics = IntakeMetrics(registry)
    recorder = FailureRecorder(settings.retry_seconds, metrics)
    deadline = time.monotonic() + MAX_SECONDS
    total = 0
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(url, name="retry-sweep", size=1))
        graph = await stack.enter_async_context(open_graph(settings, registry))
        groups = WebhookGroups(pool, body_ring, recorder, metrics)
        due_rows = DueRows(pool, body_ring, groups, recorder)
        follow_ups = FollowUpWorker(
            FollowUpContext(pool, token_ring, graph),
            settings.retry_seconds,
            FollowUpMetrics(registry),
        )
        while time.monotonic() < deadline:
            count, _ = await due_rows.work_once(overdue=OVERDUE)  # the loops need no nudges
            count += await follow_ups.work_once(overdue=OVERDUE)
            if not count:
                break
            total += count
    log.info("retry_sweep.done", count=total)
