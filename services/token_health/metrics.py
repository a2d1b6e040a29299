"""Metrics of the checks of connections."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class TokenHealthMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.checks = Counter(
            "porteiro_token_checks",
            "Checks of connections, by what they found; unasked: Meta could not be asked",
            ["outcome"],
            registry=registry,
        )
        self.renewals = Counter(
            "porteiro_token_renewals",
            "Tokens that could be renewed: renewed, or not",
            ["outcome"],
            registry=registry,
        )
        self.suspended = Gauge(
            "porteiro_token_checks_suspended",
            "1 while too many connections turn bad at once, so that bad answers change nothing",
            registry=registry,
        )
        self.connections = Gauge(
            "porteiro_tokens",
            "Connections with a token, by its state",
            ["state"],
            registry=registry,
        )
        self.days_left = Gauge(
            "porteiro_tokens_by_days_left",
            "Connections whose token ends within so many days",
            ["days"],
            registry=registry,
        )
        self.oldest_check = Gauge(
            "porteiro_token_oldest_check_seconds",
            "Since Meta last answered about the connection that was asked about longest ago",
            registry=registry,
        )
