"""Metrics that every process gives Prometheus."""

from importlib.metadata import version
from typing import cast

from prometheus_client import CollectorRegistry, Counter, generate_latest
from redis.asyncio import Redis

from services.console.http.metrics import ConsoleMetrics
from services.ingress.clock import DatabaseClock
from services.ingress.metrics import IngressMetrics
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.intake.metrics import IntakeMetrics
from services.processor.job_gauges import JobGauges
from services.processor.metrics import ProcessorMetrics
from services.token_health.metrics import TokenHealthMetrics
from shared.cache import Cache
from shared.graph.metrics import GraphMetrics
from shared.process.health import Health
from shared.process.metrics import open_registry
from shared.store.pool import Pool


def test_a_process_says_which_version_it_runs() -> None:
    labels = {"version": version("porteiro")}

    assert open_registry().get_sample_value("porteiro_build_info", labels) == 1


def test_counters_have_no_created_timestamp() -> None:
    registry = open_registry()
    Counter("porteiro_seen", "...", registry=registry).inc()

    assert b"_created" not in generate_latest(registry)


def test_every_metric_has_our_prefix() -> None:
    registry = CollectorRegistry()
    for metrics in (
        ConsoleMetrics, IngressMetrics, ProcessorMetrics, IntakeMetrics, FollowUpMetrics,
        GraphMetrics, Health, DatabaseClock, TokenHealthMetrics,
    ):  # fmt: skip
        metrics(registry)
    Cache(Redis(), registry)
    JobGauges(cast("Pool", None), registry)

    names = [metric.name for metric in registry.collect()]
    assert len(names) > 20
    assert [name for name in names if not name.startswith("porteiro_")] == []
