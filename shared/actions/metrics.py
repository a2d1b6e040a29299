"""What is counted wherever webhooks are worked, be it the processor or a job."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
_SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)


class WorkMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.webhooks = Counter("webhooks_split", "Webhooks that were split", registry=registry)
        self.changes = Counter(
            "changes_stored", "Changes, new or known before", ["outcome"], registry=registry
        )
        self.failures = Counter(
            "tries_failed", "Tries that failed for their own sake", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.dead_letters = Counter(
            "dead_letters", "Letters opened", ["kind", "blame"], registry=registry
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


class FollowUpMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.ends = Counter(
            "follow_ups",
            "Follow-ups worked: done, put off, blocked until somebody acts",
            ["kind", "outcome"],
            registry=registry,
        )
