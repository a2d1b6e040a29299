"""The alerts for Prometheus name metrics that exist, and each job with the time it may take."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import yaml
from prometheus_client import CollectorRegistry

from services.ingress.metrics import IngressMetrics
from services.processor.intake.metrics import IntakeMetrics
from services.processor.job_gauges import JobGauges
from shared.domain.schedule import JOBS
from shared.process.health import Health
from shared.store.intake.partitions import ALARM_DAYS_AHEAD
from shared.store.pool import Pool

RULES = Path("deploy/prometheus/porteiro-rules.yaml")
#: Of RabbitMQ's own `/metrics/per-object`.
NOT_OURS = {"rabbitmq_queue_messages_ready"}


def expressions() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_every_metric_that_an_alert_names_exists() -> None:
    registry = CollectorRegistry()
    IntakeMetrics(registry)
    IngressMetrics(registry)
    Health(registry)
    JobGauges(cast("Pool", None), registry)
    known = {
        name + suffix
        for metric in registry.collect()
        for name, suffix in ((metric.name, "_total" if metric.type == "counter" else ""),)
    }
    named = set(re.findall(r"\b(?:porteiro|rabbitmq)_\w+", " ".join(expressions().values())))
    assert named - known == NOT_OURS


def test_every_job_is_overdue_at_its_time() -> None:
    told = re.findall(r'exported_job="([\w-]+)"}\) > (\d+)', expressions()["PorteiroJobOverdue"])
    for job in JOBS:
        first = job.next_due(datetime.now(UTC), UTC)
        between = job.next_due(first, UTC) - first
        may_take = between + job.start_within + job.deadline
        assert (job.name, str(int(may_take.total_seconds()))) in told
    assert len(told) == len(JOBS)


def test_the_partitions_ahead_are_alarming_where_the_job_says_so() -> None:
    assert expressions()["PorteiroFewPartitionsAhead"].endswith(f"< {ALARM_DAYS_AHEAD}")
