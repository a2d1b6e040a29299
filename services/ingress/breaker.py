"""Skip a sink that fails, and let one webhook try it again after OPEN_SECONDS."""

#: Seconds for which a sink is skipped after a failure.
OPEN_SECONDS = 1.0


class CircuitBreaker:
    """Closed: every webhook may pass. A failure opens it for OPEN_SECONDS.

    Then it is half-open: one trial at a time passes. Success closes it, failure opens it again.
    """

    def __init__(self) -> None:
        self._open_until = 0.0
        self._is_closed = True
        self._on_trial = False

    def allows(self, now: float) -> bool:
        """Return whether a webhook may use the sink now. If not closed, True starts the trial."""
        if self._is_closed:
            return True
        if self._on_trial or now < self._open_until:
            return False
        self._on_trial = True
        return True

    def succeeded(self) -> None:
        self._is_closed = True
        self._on_trial = False

    def failed(self, now: float) -> None:
        self._is_closed = False
        self._on_trial = False
        self._open_until = now + OPEN_SECONDS
