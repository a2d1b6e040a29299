"""Keeps processes running, and finds every process of a stack again, even an orphaned one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.local.stack.servers import Program

#: In the environment of every process of a stack: how a later command finds them all.
MARK = "PORTEIRO_STACK"
START_SECONDS = 60
#: A process gets this long to end by itself.
STOP_SECONDS = 15
_PAUSE = 0.1


class NotUp(Exception):
    """The text names the process and where its log is."""


class Supervisor:
    """Starts programs in order and starts again whichever ends. Output goes to a file each."""

    def __init__(self, mark: str, logs: Path, on_pids: Callable[[Mapping[str, int]], None]) -> None:
        self._mark = mark
        self._logs = logs
        self._on_pids = on_pids
        self._programs: dict[str, Program] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: Program) -> None:
        """Start it and wait until it is up. Raises NotUp."""
        self._programs[program.name] = program
        process = self._spawn(program)
        deadline = time.monotonic() + START_SECONDS
        while not program.is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotUp(f"{program.name} did not come up: see {self._log_of(program)}")
            time.sleep(_PAUSE)

    def check(self) -> None:
        """Start again what has ended."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._spawn(self._programs[name])

    def stop(self) -> None:
        """End everything, the last started first."""
        self.stop_only(*reversed(list(self._processes)))

    def stop_only(self, *names: str) -> None:
        """End these, in this order."""
        for name in names:
            process = self._processes.pop(name)
            process.send_signal(signal.SIGINT if name == "postgresql" else signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self._log_of(program).open("ab") as log:
            process = subprocess.Popen(
                program.command,
                env={**os.environ, **program.env, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=program.user,
                cwd="/" if program.user else None,
                start_new_session=True,  # Ctrl-C in the terminal is for us alone
            )
        self._processes[program.name] = process
        self._on_pids({name: p.pid for name, p in self._processes.items()})
        return process

    def _log_of(self, program: Program) -> Path:
        return self._logs / f"{program.name}.log"


def sweep(mark: str) -> int:
    """End every process of the stack that is still there, whoever started it; how many."""
    found = [p for p in psutil.process_iter() if p.pid != os.getpid() and _is_marked(p, mark)]
    for process in found:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=STOP_SECONDS)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
    return len(found)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
