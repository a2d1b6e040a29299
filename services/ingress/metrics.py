"""The metrics of the ingress."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BUNDLE_BUCKETS = (1, 2, 5, 10, 20, 50, 100)


class IngressMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.accepted = Counter(
            "porteiro_webhooks_accepted",
            "Webhooks answered 200",
            ["stored_via", "lane"],
            registry=registry,
        )
        self.refused = Counter(
            "porteiro_webhooks_refused", "Webhooks refused", ["reason"], registry=registry
        )
        self.secret_used = Counter(
            "porteiro_webhooks_signed_with",
            "Webhooks by the app secret that signed them",
            ["secret"],
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "porteiro_webhook_answer_seconds",
            "From the last byte of the body to the answer",
            buckets=_ANSWER_BUCKETS,
            registry=registry,
        )
        self.bundle_webhooks = Histogram(
            "porteiro_bundle_webhooks",
            "Webhooks in one batch",
            ["stored_via"],
            buckets=_BUNDLE_BUCKETS,
            registry=registry,
        )
        self.bytes_in_flight = Gauge(
            "porteiro_ingress_bytes_in_flight", "Bodies read and not yet durable", registry=registry
        )
