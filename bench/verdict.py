"""Decide if a figure differs from the recorded one by more than equal runs differ."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = Path(__file__).parent / "guard.json"
#: A difference smaller than this share never counts, even if the recorded runs were equal.
MIN_RESOLUTION = 0.01
#: Figures that no change may move in either direction: fewer events are not a saving.
EXACT = frozenset({"processor: events"})
#: A difference counts if it is larger than the spread of the recorded runs times this factor.
SPREADS = 1.5


@dataclass(frozen=True, slots=True)
class Recorded:
    """The median of several runs, and their spread (maximum - minimum) as a share of it."""

    value: float
    spread: float

    @property
    def resolution(self) -> float:
        """Return the share by which a run must differ to be more expensive or cheaper."""
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
        """Dearer, or another value where none but the recorded one is right."""
        is_other = self.name in EXACT and abs(self.change) > self.recorded.resolution
        return is_other or self.change > self.recorded.resolution

    @property
    def is_cheaper(self) -> bool:
        return not self.is_dearer and self.change < -self.recorded.resolution


def summarize(runs: Sequence[Mapping[str, float]]) -> dict[str, Recorded]:
    """Return the record of several runs of the same code."""
    recorded = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        if min(values) <= 0:
            raise ValueError(f"{name} was measured as 0: nothing can be compared with that")
        value = statistics.median(values)
        recorded[name] = Recorded(round(value, 4), round((max(values) - min(values)) / value, 4))
    return recorded


def compare(recorded: Mapping[str, Recorded], now: Mapping[str, float]) -> list[Compared]:
    """Compare each figure. Raise KeyError if one is only recorded or only measured."""
    if recorded.keys() != now.keys():
        raise KeyError(", ".join(sorted(recorded.keys() ^ now.keys())))
    return [Compared(name, recorded[name], value) for name, value in now.items()]


def load(path: Path = RECORD) -> dict[str, Recorded]:
    figures = json.loads(path.read_text())["figures"]
    return {name: Recorded(entry["value"], entry["spread"]) for name, entry in figures.items()}


def save(figures: Mapping[str, Recorded], *, runs: int, path: Path = RECORD) -> None:
    entries = {name: {"value": r.value, "spread": r.spread} for name, r in figures.items()}
    path.write_text(json.dumps({"runs": runs, "figures": entries}, indent=2) + "\n")
