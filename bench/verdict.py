"""Decide whether one version is more expensive than another by more than chance."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: A difference smaller than this share never counts, even if it was the same in all runs.
MIN_RESOLUTION = 0.01
#: Where the runs disagree by so much that nothing under this share could be seen, there is no
#: verdict: the machine was not quiet.
MAX_RESOLUTION = 0.15
#: Figures that no change may move in either direction: fewer events are not a saving.
EXACT = frozenset({"processor: events"})
#: In 1 of 100 times the mean of 2, 3, ... 9 runs is this many of its standard errors away from what
#: many runs would give (Student's t).
STANDARD_ERRORS = (63.7, 9.92, 5.84, 4.60, 4.03, 3.71, 3.50, 3.36)

Verdict = Literal["the same", "cheaper", "MORE EXPENSIVE", "CANNOT TELL"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure's medians, and its changes: now / before - 1, one for each run of both versions."""

    name: str
    before: float
    now: float
    changes: Sequence[float]

    @property
    def change(self) -> float:
        return statistics.mean(self.changes)

    @property
    def resolution(self) -> float:
        """Return the share by which the versions must differ to be told apart."""
        error = statistics.stdev(self.changes) / math.sqrt(len(self.changes))
        return max(MIN_RESOLUTION, STANDARD_ERRORS[len(self.changes) - 2] * error)

    @property
    def verdict(self) -> Verdict:
        if abs(self.change) > self.resolution and (self.change > 0 or self.name in EXACT):
            return "MORE EXPENSIVE"
        if self.resolution > MAX_RESOLUTION:
            return "CANNOT TELL"
        return "cheaper" if self.change < -self.resolution else "the same"


def compare(
    before: Sequence[Mapping[str, float]], now: Sequence[Mapping[str, float]]
) -> list[Compared]:
    """Compare the figures of 2 to 9 runs. The runs of the same index were made in turn.

    Raise KeyError if a figure was measured of one version only, ValueError if it was 0.
    """
    names = {frozenset(run) for run in (*before, *now)}
    if len(names) != 1:
        raise KeyError(", ".join(sorted(frozenset.union(*names) - frozenset.intersection(*names))))
    return [_compare(name, [r[name] for r in before], [r[name] for r in now]) for name in now[0]]


def _compare(name: str, before: Sequence[float], now: Sequence[float]) -> Compared:
    if min(*before, *now) <= 0:
        raise ValueError(f"{name} was measured as 0: nothing can be compared with that")
    changes = [after / first - 1 for first, after in zip(before, now, strict=True)]
    return Compared(name, statistics.median(before), statistics.median(now), changes)
