"""Skips a road that is down, and lets one bundle try it again after a while."""

#: Seconds a road is left alone after a failure.
OPEN_SECONDS = 1.0


class CircuitBreaker:
    """Closed until a failure; then open, then half-open: one trial at a time decides."""

    def __init__(self) -> None:
        self._open_until = 0.0
        self._is_closed = True
        self._on_trial = False

    def allows(self, now: float) -> bool:
        """Whether one more webhook may take the road. A yes while not closed starts the trial."""
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
