"""`make run`, `make demo`, `make up` and `make down`."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import typer

from deploy.local.chaos import storm
from deploy.local.chaos.nemesis import Nemesis
from deploy.local.chaos.outage import Outage
from deploy.local.chaos.planted import run_planted
from deploy.local.chaos.upgrade import run_upgrade
from deploy.local.demo.play import play_demo
from deploy.local.rehearse import rehearse as run_rehearsal
from deploy.local.stack import clocks, install
from deploy.local.stack.stack import (
    ENV_MARK,
    FAKE_CLOCKS,
    LOCAL,
    LOGS,
    SERVER_URLS,
    STACK_FILE,
    Stack,
)
from deploy.local.stack.supervisor import MARK, is_any_running, stop_all
from services.ingress.app import PATH

UP_SECONDS = 120

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up() -> None:
    """Start the stack in the background. If it runs already, say so and change nothing."""
    if _is_running():
        print("The stack is running already: nothing was changed. `make down` stops it.")
    else:
        _up()
    _show()


@app.command()
def down() -> None:
    """Stop every process of the stack, also those of an earlier run."""
    stopped = _down()
    print(f"stopped {stopped} processes" if stopped else "nothing was running")


@app.command()
def demo() -> None:
    """Start the stack, play the demo, stop the stack. Exit 0 only if every scene came true."""
    _up()
    try:
        came_true = play_demo(_read_stack())
    finally:
        _down()
    sys.exit(0 if came_true else 1)


@app.command()
def chaos(seconds: int = 60, seed: int | None = None, fault: list[str] | None = None) -> None:
    """Start the stack, run a random chaos storm on it, stop it. Exit 0 only if the run is sound.

    With --fault, which can be repeated, only these faults are injected.
    """
    if not fault or "clock" in fault:
        install.ensure(clocks.PACKAGE)
        os.environ[FAKE_CLOCKS] = "1"
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    _run_storm(lambda stack: Nemesis(stack, seconds, seed, fault or ()), seed)


@app.command()
def outage() -> None:
    """Like chaos, with fixed faults: 60 s without RabbitMQ, then 15 s without PostgreSQL too."""
    _run_storm(lambda _: Outage(), seed=0)


@app.command()
def upgrade(ref: str = "e0b8b53") -> None:
    """Run version REF and this one together on the same servers, in both directions, with traffic.

    REF is a commit or a tag; e0b8b53 is 0.2.0. Exit 0 only if nothing was lost or doubled.
    """
    install.ensure()
    sys.exit(0 if run_upgrade(ref) else 1)


@app.command()
def planted(only: str = "") -> None:
    """Run a short storm on a copy of the last commit, as it is and with each of some planted bugs.

    ONLY is a part of a bug's name. Exit 0 only if each bug was found, and nothing without one.
    """
    install.ensure()
    sys.exit(0 if run_planted(only) else 1)


@app.command()
def rehearse() -> None:
    """Start the stack, play the demo; back up, lose and restore its database; stop the stack."""
    _up()
    try:
        stack = _read_stack()
        is_sound = play_demo(stack) and run_rehearsal(stack)
    finally:
        _down()
    sys.exit(0 if is_sound else 1)


def _run_storm(disrupt: Callable[[dict[str, Any]], storm.Disruption], seed: int) -> None:
    _up()
    try:
        stack = _read_stack()
        is_sound = storm.run(stack, disrupt(stack), seed=seed)
    finally:
        _down()
    sys.exit(0 if is_sound else 1)


@app.command()
def run() -> None:
    """Start the stack, play the demo, and keep the stack running until Ctrl-C."""
    _up()
    try:
        play_demo(_read_stack())
        _show()
        print("Press Ctrl-C to stop.")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("stopping ...")
    finally:
        _down()


@app.command(hidden=True)
def serve() -> None:
    """Run the supervisor in the foreground. `up` starts this command in the background."""
    Stack().run()


def _is_running() -> bool:
    """Return whether a complete stack has a supervisor. Without one, `_up` replaces it."""
    return STACK_FILE.exists() and is_any_running(str(LOCAL), ["deploy.local", "serve"])


def _use_server_urls() -> None:
    """Say which servers of the environment are used. Those of a stack of ours that ended are not:
    its porteiro.env, which somebody loaded, is marked."""
    for name in SERVER_URLS:
        if ENV_MARK in os.environ:
            os.environ.pop(name, None)
        elif os.environ.get(name):
            url = urlsplit(os.environ[name])
            print(f"using {name} of the environment: {url.hostname}:{url.port}{url.path}")


def _up() -> None:
    if _is_running():
        sys.exit("The stack is running already: stop it with `make down` first.")
    _use_server_urls()
    if not all(os.environ.get(name) for name in SERVER_URLS):
        install.ensure()
    _down()
    LOGS.mkdir(parents=True, exist_ok=True)
    print("starting PostgreSQL, Redis, RabbitMQ and the services ...", flush=True)
    log_file = LOGS / "supervisor.log"
    with log_file.open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "serve"],
            env={**os.environ, MARK: str(LOCAL)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + UP_SECONDS
    while not STACK_FILE.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            _down()
            print(log_file.read_text()[-2000:], file=sys.stderr)
            sys.exit(f"the stack did not start: see {LOGS}")
        time.sleep(0.1)


def _down() -> int:
    stopped = 0
    # Repeated: a supervisor may start one more process before it stops.
    while count := stop_all(str(LOCAL)):
        stopped += count
    STACK_FILE.unlink(missing_ok=True)
    return stopped


def _read_stack() -> dict[str, Any]:
    stack: dict[str, Any] = json.loads(STACK_FILE.read_text())
    return stack


def _show() -> None:
    stack = _read_stack()
    print("The stack is up. Addresses and keys: .local/stack.json. Logs: .local/logs/.")
    for name in ("ingress", "console", "simulated_meta", "rabbitmq_management"):
        print(f"  {name:<20} {stack[name]}")
    print(f"Meta posts to {stack['ingress']}{PATH}")
    if stack["rabbitmq_management"]:
        print("RabbitMQ's login is in the URL `rabbitmq` of .local/stack.json.")
    print("To use the command line: `. .local/porteiro.env`, then `.venv/bin/porteiro`.")
    print("What to try first: docs/simulated-meta.md.")


if __name__ == "__main__":
    try:
        app()
    except install.NotInstalled as error:
        sys.exit(str(error))
