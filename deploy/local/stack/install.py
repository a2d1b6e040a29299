"""Finds binaries, and on Debian and Ubuntu installs what is missing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: Debian's package for each program.
SERVERS = {
    "initdb": "postgresql",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
}
BROWSER = {"chromium": "chromium"}
#: Where Debian puts programs, beside PATH.
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin", "/usr/sbin", "/opt/homebrew/sbin")
_POLICY = Path("/usr/sbin/policy-rc.d")


class NotInstalled(Exception):
    """The text says what to install."""


def find(program: str) -> str | None:
    """The program's path; of several PostgreSQLs the newest, and RabbitMQ's own script before
    Debian's wrapper, which insists on another user."""
    for pattern in _FOLDERS[:2]:
        found = sorted(Path("/").glob(f"{pattern[1:]}/{program}"), key=_version)
        if found:
            return str(found[-1])
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS[2:]]))


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdigit()]


def ensure(packages: Mapping[str, str] = SERVERS) -> None:
    """Install what is missing, without starting anything. Raises NotInstalled."""
    missing = [package for program, package in packages.items() if find(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise NotInstalled(
            f"please install: {', '.join(missing)} (or, of the servers, set DATABASE_URL,"
            " REDIS_URL and RABBITMQ_URL to ones of your own)"
        )
    print(f"installing with apt: {', '.join(missing)} (once)", file=sys.stderr)
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
    """Debian starts a server as it installs it, on its default port; ours run on private ones.

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
