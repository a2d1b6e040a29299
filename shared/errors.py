"""Errors that more than one layer raises or handles."""

from collections.abc import Iterable


class StartupRefused(Exception):
    """Something reachable is wrong, so the process must not start, or not go on.

    `faults` says what is wrong and what to do, one line each. They hold no secret.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(self.faults))
