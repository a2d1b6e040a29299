"""Find programs. On Debian and Ubuntu, install the missing ones."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: The Debian package of each program.
SERVERS = {
    "initdb": "postgresql",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
}
#: What only the tests need.
FOR_TESTS = {"age": "age", "chromium": "chromium", "pgbouncer": "pgbouncer"}
#: Folders with programs that may not be in PATH.
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin", "/usr/sbin", "/opt/homebrew/sbin")
_POLICY = Path("/usr/sbin/policy-rc.d")


class NotInstalled(Exception):
    """A program is missing. The text says what to install."""


def find(program: str) -> str | None:
    """Return the path of a program, or None.

    Of several PostgreSQLs, return the newest. Prefer RabbitMQ's own script to Debian's wrapper,
    which needs another user.
    """
    for pattern in _FOLDERS[:2]:
        paths = sorted(Path("/").glob(f"{pattern[1:]}/{program}"), key=_version)
        if paths:
            return str(paths[-1])
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS[2:]]))


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdigit()]


def ensure(packages: Mapping[str, str] = SERVERS) -> None:
    """Install the missing programs, but start none. Raise NotInstalled if that fails."""
    missing = [package for program, package in packages.items() if find(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise NotInstalled(
            f"please install: {', '.join(missing)} (or set DATABASE_URL, REDIS_URL and RABBITMQ_URL"
            " to use your own servers)"
        )
    print(f"installing with apt: {', '.join(missing)} (only once)", file=sys.stderr)
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    with _no_autostart(sudo):
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        ):
            result = subprocess.run(
                [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *command],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            if result.returncode != 0:
                raise NotInstalled(f"`{' '.join(command)}` failed:\n{result.stderr.strip()}")


@contextmanager
def _no_autostart(sudo: list[str]) -> Iterator[None]:
    """Prevent Debian from starting a server on its default port when it installs it.

    https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
    """
    if _POLICY.exists():
        yield
        return
    script = "#!/bin/sh\nexit 101\n"
    subprocess.run(
        [*sudo, "tee", str(_POLICY)], input=script.encode(), stdout=subprocess.DEVNULL, check=True
    )
    subprocess.run([*sudo, "chmod", "755", str(_POLICY)], check=True)
    try:
        yield
    finally:
        subprocess.run([*sudo, "rm", "-f", str(_POLICY)], check=True)
