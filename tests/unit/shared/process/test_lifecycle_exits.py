"""How a process ends: what it logs, and the exit code that Kubernetes sees."""

import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).parents[4]

MAIN = """
import asyncio, sys
from shared.process import lifecycle
from shared.errors import StartupRefused
from shared.process.lifecycle import Stop, run, running

async def boom():
    raise LookupError("canary")

async def refuse():
    raise StartupRefused(["A is missing", "B is malformed"])

async def main(stop):
    {main}

run("under_test", main)
"""
#: Prints that it runs, then waits for a signal.
WAITING = "print('ready', flush=True); await stop.wait()"


def start(main: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN.format(main=main)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, str]], str]:
    """Return the exit code, the log lines and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, [orjson.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_0(number: signal.Signals) -> None:
    process = start(WAITING)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"

    process.send_signal(number)
    code, lines, err = ended(process)

    assert (code, err) == (0, "")
    assert [line["event"] for line in lines] == ["process.stopped"]


@pytest.mark.parametrize(
    "main",
    [
        "await refuse()",
        "async with running(refuse(), stop): await stop.wait()",
    ],
)
def test_a_refusal_ends_it_with_78_and_one_line_for_each_fault(main: str) -> None:
    code, lines, err = ended(start(main))

    assert (code, err) == (78, "")
    assert [line["fault"] for line in lines] == ["A is missing", "B is malformed"]
    assert {line["event"] for line in lines} == {"process.refused"}


@pytest.mark.parametrize(
    "main",
    [
        "await boom()",
        "async with running(boom(), stop): await stop.wait()",
    ],
)
def test_any_other_failure_ends_it_with_1_and_its_text_is_not_logged(main: str) -> None:
    code, [line], err = ended(start(main))

    assert (code, err) == (1, "")
    assert (line["event"], line["error"]) == ("process.failed", "builtins.LookupError")
    assert "canary" not in str(line)


def test_a_process_that_hangs_while_stopping_is_killed() -> None:
    hanging = "lifecycle.STOP_SECONDS = 0.1; stop.set(); await asyncio.Event().wait()"

    code, lines, err = ended(start(hanging))

    assert (code, lines) == (1, [])
    assert "Timeout" in err
    assert "most recent call first" in err
