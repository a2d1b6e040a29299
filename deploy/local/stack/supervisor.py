"""Keep processes running. Find every process of a stack, also after its supervisor has died."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from deploy.local.stack.servers import Program

#: An environment variable of every process of a stack. A later command finds them by it.
MARK = "PORTEIRO_STACK"
START_SECONDS = 60
#: The time that a process has to end by itself before it is killed.
STOP_SECONDS = 15
_POLL_SECONDS = 0.1


class NotUp(Exception):
    """A process did not start. The text names it and its log file."""


class Supervisor:
    """Start programs and restart those that end. The output of each goes to its own file.

    After each start, call `on_pids` with the pids of all processes.
    """

    def __init__(self, mark: str, logs: Path, on_pids: Callable[[Mapping[str, int]], None]) -> None:
        self._mark = mark
        self._logs = logs
        self._on_pids = on_pids
        self._programs: dict[str, Program] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: Program) -> None:
        """Start a program and wait until it is up. Raise NotUp if it ends or START_SECONDS pass."""
        self._programs[program.name] = program
        process = self._spawn(program)
        deadline = time.monotonic() + START_SECONDS
        while not program.is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotUp(f"{program.name} did not start: see {self._log_file(program)}")
            time.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Restart the processes that have ended."""
        for name, process in list(self._processes.items()):
            if (code := process.poll()) is not None:
                restarted = self._spawn(self._programs[name])
                at = datetime.now(UTC).isoformat(timespec="seconds")
                print(f"{at} {name} ended with {code}: restarted, pid {restarted.pid}", flush=True)

    def stop(self) -> None:
        """Stop every process, the last started first."""
        self.stop_only(*reversed(list(self._processes)))

    def stop_only(self, *names: str) -> None:
        """Stop these processes, in this order."""
        for name in names:
            process = self._processes.pop(name)
            process.send_signal(signal.SIGINT if name == "postgresql" else signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self._log_file(program).open("ab") as log:
            process = subprocess.Popen(
                program.command,
                env={**os.environ, **program.env, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=program.user,
                cwd="/" if program.user else None,
                start_new_session=True,  # Ctrl-C in the terminal must reach only us
            )
        self._processes[program.name] = process
        self._on_pids({name: p.pid for name, p in self._processes.items()})
        return process

    def _log_file(self, program: Program) -> Path:
        return self._logs / f"{program.name}.log"


def stop_all(mark: str) -> int:
    """Stop every process that has the mark, except this one. Return how many there were."""
    processes = [p for p in psutil.process_iter() if p.pid != os.getpid() and _is_marked(p, mark)]
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
    return len(processes)


def is_any_running(mark: str, ending: list[str]) -> bool:
    """Return whether a process that has the mark runs, whose command ends like this."""
    return any(
        _is_marked(process, mark) and process.cmdline()[-len(ending) :] == ending
        for process in psutil.process_iter()
    )


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
