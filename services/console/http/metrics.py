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
        self.refused = Counter(
            "porteiro_requests_refused",
            "Requests refused with 401 or 403, by the code of the problem",
            ["code"],
            registry=registry,
        )
        self.concurrent = Counter(
            "porteiro_requests_concurrent",
            "Requests refused with 429 because too many were under way, of a key or an address",
            registry=registry,
        )
