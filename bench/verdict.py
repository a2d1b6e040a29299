"""Decide whether one version is dearer than another by more than equal runs differ."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: A difference smaller than this share never counts, even if all runs of a version were equal.
MIN_RESOLUTION = 0.01
#: Where equal runs differ by so much that nothing under this share could be seen, there is no
#: verdict: the machine was not quiet.
MAX_RESOLUTION = 0.15
#: Figures that no change may move in either direction: fewer events are not a saving.
EXACT = frozenset({"processor: events"})
#: A difference counts if it is larger than the spread of equal runs times this factor.
SPREADS = 1.5

Verdict = Literal["the same", "cheaper", "MORE EXPENSIVE", "CANNOT TELL"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The median of several runs, and their spread (maximum - minimum) as a share of it."""

    value: float
    spread: float


@dataclass(frozen=True, slots=True)
class Compared:
    name: str
    before: Measured
    now: Measured

    @property
    def change(self) -> float:
        return self.now.value / self.before.value - 1

    @property
    def resolution(self) -> float:
        """Return the share by which the versions must differ to be told apart."""
        return max(MIN_RESOLUTION, SPREADS * max(self.before.spread, self.now.spread))

    @property
    def verdict(self) -> Verdict:
        if abs(self.change) > self.resolution and (self.change > 0 or self.name in EXACT):
            return "MORE EXPENSIVE"
        if self.resolution > MAX_RESOLUTION:
            return "CANNOT TELL"
        return "cheaper" if self.change < -self.resolution else "the same"


def summarize(runs: Sequence[Mapping[str, float]]) -> dict[str, Measured]:
    """Return the figures of several runs of the same code."""
    figures = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        if min(values) <= 0:
            raise ValueError(f"{name} was measured as 0: nothing can be compared with that")
        value = statistics.median(values)
        figures[name] = Measured(value, (max(values) - min(values)) / value)
    return figures


def compare(before: Mapping[str, Measured], now: Mapping[str, Measured]) -> list[Compared]:
    """Compare each figure. Raise KeyError if one was measured of one version only."""
    if before.keys() != now.keys():
        raise KeyError(", ".join(sorted(before.keys() ^ now.keys())))
    return [Compared(name, before[name], now[name]) for name in now]
