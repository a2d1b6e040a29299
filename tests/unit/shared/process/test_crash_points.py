"""Crash points: nothing happens unless armed, and then exactly once, where it was told to."""

import signal
import subprocess
import sys

import pytest

from shared.process.crash_points import arm, crash_point

SCRIPT = """
from shared.process.crash_points import arm, crash_point
arm({at!r})
for n in range(5):
    crash_point("somewhere.else")
    crash_point("here")
    print(n, flush=True)
"""


def passed(at: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(at=at)], stdout=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stdout.split()


def test_unarmed_it_is_only_a_mark() -> None:
    crash_point("here")


def test_it_dies_at_the_nth_passing() -> None:
    assert passed("here") == (-signal.SIGKILL, [])
    assert passed("here:3") == (-signal.SIGKILL, ["0", "1"])
    assert passed("nowhere") == (0, ["0", "1", "2", "3", "4"])


@pytest.mark.parametrize("at", ["", "Here", "here:0", "here:1:TERM"])
def test_what_makes_no_sense_is_refused(at: str) -> None:
    with pytest.raises(ValueError, match="no crash point"):
        arm(at)
