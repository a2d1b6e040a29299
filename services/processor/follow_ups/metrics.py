"""Count how follow-ups end."""

from prometheus_client import CollectorRegistry, Counter


class FollowUpMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.ends = Counter(
            "porteiro_follow_ups",
            "Attempts of follow-ups: step done, put off, or blocked until a person acts",
            ["kind", "outcome"],
            registry=registry,
        )
