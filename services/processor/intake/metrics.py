"""Metrics of the work on webhooks and follow-ups, in the processor and in jobs."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
_SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)


class IntakeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.webhooks = Counter(
            "porteiro_webhooks_split", "Webhooks that were split", registry=registry
        )
        self.changes = Counter(
            "porteiro_changes_stored",
            "Changes of split webhooks, new or stored before",
            ["outcome"],
            registry=registry,
        )
        self.failures = Counter(
            "porteiro_attempts_failed",
            "Attempts that failed because of the row itself",
            ["kind", "outcome"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "porteiro_dead_letters", "Dead letters added", ["kind", "blame"], registry=registry
        )
        self.group_webhooks = Histogram(
            "porteiro_group_webhooks",
            "Webhooks stored in one transaction",
            buckets=_GROUP_BUCKETS,
            registry=registry,
        )
        self.stored_seconds = Histogram(
            "porteiro_webhook_stored_seconds",
            "Seconds from receipt until stored in PostgreSQL",
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self.slow_organizations = Gauge(
            "porteiro_organizations_slow",
            "Organizations over their limit whose webhooks take the slow lane",
            registry=registry,
        )
