"""Whether the ingress's own last answers let it be ready."""

import asyncio

import structlog

log = structlog.get_logger()

#: How long the ingress is unready after it refused a webhook that it could not store. Not for ever:
#: an unready one is sent nothing, so it would never know that it can store again.
UNREADY_SECONDS = 10.0


class LastAnswers:
    """Note what became of webhooks. One log line tells each change."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._failed_at: float | None = None

    def are_good(self) -> bool:
        """Return whether a webhook was stored since one was refused, or UNREADY_SECONDS passed."""
        return self._failed_at is None or self._loop.time() > self._failed_at + UNREADY_SECONDS

    def stored(self) -> None:
        if self._failed_at is not None:
            log.info("webhooks.stored_again")
        self._failed_at = None

    def not_stored(self) -> None:
        if self._failed_at is None:
            log.error("webhooks.not_stored")
        self._failed_at = self._loop.time()
