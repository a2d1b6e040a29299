"""The console's metrics."""

from prometheus_client import CollectorRegistry, Counter


class ConsoleMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "porteiro_console_requests",
            "Responses by class of status",
            ["status"],
            registry=registry,
        )
        self.limited = Counter(
            "porteiro_requests_limited",
            "Requests refused with 429, by limit",
            ["limit"],
            registry=registry,
        )
