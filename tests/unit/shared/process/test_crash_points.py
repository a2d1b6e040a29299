"""Crash points do nothing unless armed. An armed one kills the process once, at its place."""

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


def run_armed(at: str) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(at=at)], stdout=subprocess.PIPE, text=True, check=False
    )
    return ended.returncode, ended.stdout.split()


def test_an_unarmed_crash_point_does_nothing() -> None:
    crash_point("here")


def test_the_process_dies_the_nth_time_it_passes() -> None:
    assert run_armed("here") == (-signal.SIGKILL, [])
    assert run_armed("here:3") == (-signal.SIGKILL, ["0", "1"])
    assert run_armed("nowhere") == (0, ["0", "1", "2", "3", "4"])


@pytest.mark.parametrize("at", ["", "Here", "here:0", "here:1:TERM"])
def test_an_unknown_form_is_refused(at: str) -> None:
    with pytest.raises(ValueError, match="no crash point"):
        arm(at)
