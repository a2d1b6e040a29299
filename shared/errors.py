"""Errors that more than one layer raises or handles."""

from collections.abc import Iterable


class StartupRefused(Exception):
    """A check of something reachable failed, so the process must not start, or must stop.

    Each line of `faults` says what is wrong and what to do. It contains no secret.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(self.faults))
