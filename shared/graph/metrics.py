"""Metrics of calls to Meta."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class GraphMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "porteiro_graph_calls",
            "Calls to Meta: ok, not_sent (a limit is near), or the policy of the error",
            ["call", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "porteiro_graph_call_seconds", "How long Meta took", registry=registry
        )
