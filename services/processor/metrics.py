"""The metrics of the processor, except those of its folders."""

from prometheus_client import CollectorRegistry, Counter


class ProcessorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.interrupted = Counter(
            "porteiro_groups_interrupted",
            "Groups that were stored again after an infrastructure error",
            registry=registry,
        )
        self.nudges = Counter(
            "porteiro_nudges", "Nudges for rows to retry", ["outcome"], registry=registry
        )
        self.events = Counter(
            "porteiro_events_published",
            "Events for the company's backend",
            ["outcome"],
            registry=registry,
        )
