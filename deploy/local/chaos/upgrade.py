"""A rolling upgrade and its way back: two versions on the same servers while webhooks come."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree

from deploy.local.chaos import storm
from deploy.local.chaos.worktree import Version, checked_out
from deploy.local.simulated_meta.sender import Sent
from deploy.local.stack import servers
from deploy.local.stack.servers import LOOPBACK, Program, free_port, reply
from deploy.local.stack.settings import service_settings
from deploy.local.stack.supervisor import Supervisor

#: How long each phase lasts: this version alone, both, the old one alone.
PHASE_SECONDS = 12
PHASES = 5


class Env:
    """The settings that both versions share, and their ports."""

    def __init__(self, settings: Mapping[str, str], versions: Sequence[Version]) -> None:
        self._settings = settings
        self._ports = {version.name: free_port() for version in versions}

    @property
    def doors(self) -> list[str]:
        return [f"http://{LOOPBACK}:{port}" for port in self._ports.values()]

    def job(self, version: Version, job: str) -> None:
        subprocess.run(
            [version.python, "-m", "services.scheduler", job],
            cwd=version.folder,
            env={**os.environ, **self._settings, "PYTHONPATH": str(version.folder)},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def program(self, version: Version, service: str) -> Program:
        health = free_port()
        ports = {"PORT": str(self._ports[version.name]), "HEALTH_PORT": str(health)}
        return Program(
            f"{service}-{version.name}",
            [version.python, "-m", f"services.{service}"],
            lambda: b" 200 " in reply(health, b"GET /readyz HTTP/1.0\r\n\r\n"),
            # Without PYTHONSAFEPATH, `-m` would find the code of the folder we are in first.
            env={
                **self._settings,
                **ports,
                "PYTHONPATH": str(version.folder),
                "PYTHONSAFEPATH": "1",
            },
        )


class Upgrade:
    """Old version, both, this one, both, old: each phase with traffic to whichever is there."""

    seconds = PHASE_SECONDS * PHASES

    def __init__(self, supervisor: Supervisor, old: Version, new: Version, env: Env) -> None:
        self._supervisor = supervisor
        self._old, self._new = old, new
        self._env = env

    async def run(self) -> None:
        for act, version in (
            (self._upgrade, self._new),
            (self._stop, self._old),
            (self.start, self._old),
            (self._stop, self._new),
        ):
            await asyncio.sleep(PHASE_SECONDS)
            await asyncio.to_thread(act, version)
        await asyncio.sleep(PHASE_SECONDS)
        await asyncio.to_thread(self.start, self._new)  # what the old one could not read is left

    def summary(self, sent: Sequence[Sent]) -> str:
        again = sum(webhook.attempts > 1 for webhook in sent)
        return (
            f"{self._old.name} alone, with this version, this one alone, both again, and"
            f" {self._old.name} alone, {PHASE_SECONDS} s each; {again:,} webhooks were sent again"
        )

    def failures(self, _: Sequence[Sent]) -> list[str]:
        """Return nothing: the ledger judges."""
        return []

    def _upgrade(self, version: Version) -> None:
        self._env.job(version, "migrate")
        self.start(version)

    def start(self, version: Version) -> None:
        for service in ("processor", "ingress"):
            self._supervisor.start(self._env.program(version, service))

    def _stop(self, version: Version) -> None:
        self._supervisor.stop_only(*(f"{name}-{version.name}" for name in ("ingress", "processor")))


def run_upgrade(ref: str) -> bool:
    """Run it, print the ledger, and return whether the run is sound."""
    folder = Path(tempfile.mkdtemp(prefix="porteiro-upgrade-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user
    supervisor = Supervisor(str(folder), folder, lambda _: None)
    management = free_port()
    try:
        with checked_out(ref, "requirements/run.txt") as old:
            new = Version("new", Path.cwd(), sys.executable)
            *brokers, broker = servers.rabbitmq(folder, management_port=management)
            database = servers.postgresql(folder, fsync=True)
            redis = servers.redis(folder)
            for program in (*brokers, broker, redis, database):
                supervisor.start(program)
            settings = service_settings(database.url, broker.url, redis.url)
            env = Env(settings, [old, new])
            for job in ("migrate", "topology"):
                env.job(old, job)
            upgrade = Upgrade(supervisor, old, new, env)
            upgrade.start(old)
            stack = {
                "ingress": env.doors[0],
                "more_ingresses": env.doors[1:],
                "app_secret": settings["META_APP_SECRET"],
                "body_encryption_key": settings["BODY_ENCRYPTION_KEY"],
                "database": database.url,
                "rabbitmq": broker.url,
                "rabbitmq_management": f"http://{LOOPBACK}:{management}",
            }
            return storm.run(stack, upgrade, seed=0)
    finally:
        supervisor.stop()
        rmtree(folder, ignore_errors=True)
