"""What the console counts."""

from prometheus_client import CollectorRegistry, Counter


class ConsoleMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "porteiro_console_requests", "Answers by their kind", ["status"], registry=registry
        )
        self.limited = Counter(
            "porteiro_requests_limited",
            "Refused with 429, by the limit",
            ["limit"],
            registry=registry,
        )
