"""What the processor counts, beside the work itself."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class ProcessorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.interrupted = Counter(
            "porteiro_groups_interrupted", "Groups run again: the servers' fault", registry=registry
        )
        self.unknown_version = Gauge(
            "porteiro_bundles_of_unknown_version",
            "Deliveries held back because newer code wrote them",
            registry=registry,
        )
        self.nudges = Counter(
            "porteiro_nudges", "Word of rows to be tried again", ["outcome"], registry=registry
        )
        self.events = Counter(
            "porteiro_events_published",
            "Events for the company's backend",
            ["outcome"],
            registry=registry,
        )
