"""What the door counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BUNDLE_BUCKETS = (1, 2, 5, 10, 20, 50, 100)


class IngressMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.accepted = Counter(
            "webhooks_accepted", "Webhooks answered 200", ["road", "lane"], registry=registry
        )
        self.refused = Counter(
            "webhooks_refused", "Webhooks not taken", ["reason"], registry=registry
        )
        self.secret_used = Counter(
            "webhooks_signed_with", "Which app secret signed", ["secret"], registry=registry
        )
        self.answer_seconds = Histogram(
            "webhook_answer_seconds",
            "From the last byte of the body to the answer",
            buckets=_ANSWER_BUCKETS,
            registry=registry,
        )
        self.bundle_webhooks = Histogram(
            "bundle_webhooks",
            "Webhooks that travelled together",
            ["road"],
            buckets=_BUNDLE_BUCKETS,
            registry=registry,
        )
        self.bytes_in_flight = Gauge(
            "ingress_bytes_in_flight", "Bodies read and not yet durable", registry=registry
        )
