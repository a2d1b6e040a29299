"""Run a short storm on the code as it is, then with each planted bug: the checker must find it."""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from deploy.local.chaos.bugs import BUGS, Bug, plant
from deploy.local.chaos.worktree import worktree

#: While locks are held, groups are large and wait; then the processor is killed.
_STORM = ("chaos", "--seconds", "25", "--seed", "5", "--fault", "locks", "--fault", "lock")
#: A storm, and the calm after it.
MAX_SECONDS = 600


def run_planted(only: str = "") -> bool:
    """Return whether the code of the last commit is sound, and each bug in it is found.

    `only`: the bugs with this text in their name.
    """
    console = Console(width=120)
    with worktree("HEAD") as folder:
        is_sound, remarks = _storm(folder)
        console.print(f"no bug: {remarks or 'sound'}", style=None if is_sound else "red")
        results = [is_sound]
        for bug in (bug for bug in BUGS if only in bug.name):
            is_found, remarks = _storm_with(bug, folder)
            results.append(is_found)
            console.print(f"{bug.name}: {remarks}", style=None if is_found else "red")
    console.print(f"{sum(results[1:])} of {len(results) - 1} bugs found")
    return all(results)


def _storm_with(bug: Bug, folder: Path) -> tuple[bool, str]:
    """Return whether the bug was found, and all that was found."""
    plant(bug, folder)
    try:
        is_sound, remarks = _storm(folder)
    finally:
        subprocess.run(["git", "checkout", "-q", "--", "."], cwd=folder, check=True)
    return not is_sound and f"x {bug.finding}" in remarks, remarks or "NOT FOUND"


def _storm(folder: Path) -> tuple[bool, str]:
    """Return whether the run was sound, and what was found."""
    try:
        done = _run_stack(folder, *_STORM)
    finally:
        _run_stack(folder, "down")  # also if the storm did not end in time
    remarks = [line.strip() for line in done.stdout.splitlines() if ": " in line and " x " in line]
    if done.returncode and not remarks:
        return False, done.stdout[-2000:]
    return done.returncode == 0, "; ".join(remarks)


def _run_stack(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MAX_SECONDS,
        check=False,
    )
