"""What the processor counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
_SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)


class ProcessorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.webhooks = Counter(
            "webhooks_split", "Webhooks whose splitting ended", ["outcome"], registry=registry
        )
        self.changes = Counter(
            "changes_stored", "Changes, new or known before", ["outcome"], registry=registry
        )
        self.group_webhooks = Histogram(
            "group_webhooks",
            "Webhooks stored in one transaction",
            buckets=_GROUP_BUCKETS,
            registry=registry,
        )
        self.rest_seconds = Histogram(
            "webhook_rest_seconds",
            "From the door to rest in PostgreSQL",
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self.interrupted = Counter(
            "groups_interrupted", "Groups run again: the servers' fault", registry=registry
        )
        self.unknown_version = Gauge(
            "bundles_of_unknown_version",
            "Deliveries held back because newer code wrote them",
            registry=registry,
        )
