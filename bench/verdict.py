"""Whether a figure is worse than the recorded one by more than what runs differ anyway."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = Path(__file__).parent / "guard.json"
#: A difference smaller than this share is never a verdict, however alike the recorded runs were.
MIN_RESOLUTION = 0.01
#: How far past the recorded runs' own spread a figure must be.
SPREADS = 1.5


@dataclass(frozen=True, slots=True)
class Recorded:
    """The median of several runs, and how far they were apart, as a share of it."""

    value: float
    spread: float

    @property
    def resolution(self) -> float:
        """The smallest share by which a run must differ to be called dearer or cheaper."""
        return max(MIN_RESOLUTION, SPREADS * self.spread)


@dataclass(frozen=True, slots=True)
class Compared:
    name: str
    recorded: Recorded
    now: float

    @property
    def change(self) -> float:
        return self.now / self.recorded.value - 1

    @property
    def is_dearer(self) -> bool:
        return self.change > self.recorded.resolution

    @property
    def is_cheaper(self) -> bool:
        return self.change < -self.recorded.resolution


def summarize(runs: Sequence[Mapping[str, float]]) -> dict[str, Recorded]:
    """What is to be recorded of runs of the same code."""
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        value = statistics.median(values)
        found[name] = Recorded(round(value, 4), round((max(values) - min(values)) / value, 4))
    return found


def compare(recorded: Mapping[str, Recorded], now: Mapping[str, float]) -> list[Compared]:
    """Raises KeyError where a figure was never recorded, or is no longer measured."""
    if recorded.keys() != now.keys():
        raise KeyError(", ".join(sorted(recorded.keys() ^ now.keys())))
    return [Compared(name, recorded[name], value) for name, value in now.items()]


def load(path: Path = RECORD) -> dict[str, Recorded]:
    figures = json.loads(path.read_text())["figures"]
    return {name: Recorded(one["value"], one["spread"]) for name, one in figures.items()}


def save(figures: Mapping[str, Recorded], *, runs: int, path: Path = RECORD) -> None:
    told = {name: {"value": one.value, "spread": one.spread} for name, one in figures.items()}
    path.write_text(json.dumps({"runs": runs, "figures": told}, indent=2) + "\n")
