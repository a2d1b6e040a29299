"""`make bench-guard`: check that a change has not made a webhook more expensive.

This version and an earlier one are measured in turn on the same machine, round by round, with the
same loads: between machines, and between minutes of one, the same code differs by more than a
change may cost. The figures are those with little noise: WAL bytes, statements and broker messages
per webhook, and CPU time per webhook, divided by the CPU time of a fixed piece of work in the same
seconds. Throughput differs by half from run to run.
"""

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree
from typing import IO, cast

from rich.console import Console
from rich.table import Table

from bench.fixed_load import Figures
from bench.rounds import TURNS
from bench.verdict import Compared, compare
from deploy.local.chaos.worktree import Version, checked_out
from deploy.local.stack import install

#: The version whose cost per webhook is accepted. Move it only in a commit that says what was
#: bought, and for how much.
BASE = "fc71b00"
#: In each run all processes are new: the same code in two processes differs by some percent.
RUNS = 6
#: Its servers are given 15 s each.
STOP_SECONDS = 120


class _Measured:
    """A version that `bench.rounds` measures with its code."""

    def __init__(self, version: Version) -> None:
        # Without PYTHONSAFEPATH, `-m` would find the code of the folder we are in first.
        paths = {"PYTHONPATH": str(version.folder), "PYTHONSAFEPATH": "1"}
        self._name = version.name
        self._process = subprocess.Popen(
            [version.python, "-m", "bench.rounds"], cwd=version.folder,
            env={**os.environ, **paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._turns = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        self._rounds: list[Figures] = []

    def wait(self) -> None:
        """Wait until it is ready, or its round is done."""
        line = self._answers.readline()
        if not line:
            sys.exit(f"bench-guard: {self._name} could not be measured: see above.")
        self._rounds.append(json.loads(line))

    def take_turn(self) -> None:
        """Let it do one round."""
        self._turns.write("\n")
        self._turns.flush()
        self.wait()

    def stop(self) -> None:
        """The end of its input ends it."""
        self._process.communicate(timeout=STOP_SECONDS)

    @property
    def figures(self) -> Figures:
        """Return the median of each figure's rounds."""
        return {
            name: statistics.median(figures[name] for figures in self._rounds if name in figures)
            for name in {name: None for figures in self._rounds for name in figures}
        }


def _run_in_turn(first: Version, second: Version) -> tuple[Figures, Figures]:
    """Measure both once. Return the figures of each."""
    with ExitStack() as stack:
        measured = [_Measured(version) for version in (first, second)]
        for one in measured:
            stack.callback(one.stop)
        for one in measured:
            one.wait()
        for number in range(TURNS):
            for one in measured if number % 2 else reversed(measured):
                one.take_turn()
        return measured[0].figures, measured[1].figures


def _compare_with(ref: str) -> list[Compared]:
    here = Version("this version", Path.cwd(), sys.executable)
    before, now = [], []
    with checked_out(ref, "requirements/dev.txt") as base:
        copytree("bench", base.folder / "bench", dirs_exist_ok=True)  # both get the same loads
        for number in range(1, RUNS + 1):
            of_base, of_here = _run_in_turn(base, here)
            before.append(of_base)
            now.append(of_here)
            print(f"run {number} of {RUNS} is done", file=sys.stderr)
    return compare(before, now)


def _print(ref: str, compared: list[Compared]) -> None:
    table = Table(title=f"Cost per webhook, compared with {ref}")
    for column in ("", "before", "now", "change", "resolution", "verdict"):
        table.add_column(column, justify="right" if column else "left")
    for figure in compared:
        table.add_row(
            figure.name, f"{figure.before:,.3f}", f"{figure.now:,.3f}",
            f"{figure.change:+.1%}", f"{figure.resolution:.1%}", figure.verdict,
        )  # fmt: skip
    Console(width=80).print(table)


def main() -> None:
    """Compare with a version, BASE unless one is named. Exit 1 unless nothing is dearer."""
    arguments = sys.argv[1:]
    if len(arguments) > 1:
        sys.exit("usage: python -m bench.guard [COMMIT]")
    install.ensure()
    ref = arguments[0] if arguments else BASE
    compared = _compare_with(ref)
    _print(ref, compared)
    verdicts = {figure.verdict for figure in compared}
    if "MORE EXPENSIVE" in verdicts:
        sys.exit(f"bench-guard: MORE EXPENSIVE than {ref}. Move BASE only if there is a reason.")
    if "CANNOT TELL" in verdicts:
        sys.exit("bench-guard: CANNOT TELL, equal runs differ too much. Try on a quiet machine.")


if __name__ == "__main__":
    main()
