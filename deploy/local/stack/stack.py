"""Run the whole product on one machine: private servers, the services, a simulated Meta."""

import asyncio
import hashlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.stack import servers
from deploy.local.stack.clocks import Clocks
from deploy.local.stack.servers import LOOPBACK, Program, free_port
from deploy.local.stack.supervisor import Supervisor
from services.ingress.app import PATH
from shared.store import api_keys
from shared.store.audit import Requester

LOCAL = Path.cwd() / ".local"
#: Addresses, keys and pids of the stack, for people and tests. It is written atomically.
STACK_FILE = LOCAL / "stack.json"
#: The services' settings, for the `porteiro` command. It has keys, so only its owner may read it.
ENV_FILE = LOCAL / "porteiro.env"
#: It is set where ENV_FILE was loaded: the servers' URLs there are the stack's own.
ENV_MARK = "PORTEIRO_ENV"
LOGS = LOCAL / "logs"
#: The clocks of the services, if FAKE_CLOCKS is set.
CLOCKS = LOCAL / "clocks"
FAKE_CLOCKS = "PORTEIRO_FAKE_CLOCKS"
#: The servers' files are outside the repository: for root, PostgreSQL runs as another user, which
#: may have no access to the repository's folder.
DATA = Path(tempfile.gettempdir()) / (
    f"porteiro-{os.geteuid()}-{hashlib.sha256(str(LOCAL).encode()).hexdigest()[:8]}"
)
CHECK_SECONDS = 0.2
#: Invented ids. The simulated Meta accepts them as ours.
META_APP_ID = "750000000000001"
META_CONFIG_ID = "760000000000001"
#: Environment variables that name existing servers to use instead of private ones.
SERVER_URLS = {"DATABASE_URL": "database", "REDIS_URL": "redis", "RABBITMQ_URL": "rabbitmq"}


class Stack:
    """Start, supervise and stop the processes of the stack."""

    def __init__(self) -> None:
        #: The content of stack.json, without the pids.
        self._content: dict[str, Any] = dict.fromkeys(
            ("ingress", "console", "simulated_meta", "database", "redis", "rabbitmq",
             "rabbitmq_management", "prometheus", "api_key", "operator")
        )  # fmt: skip
        self._pids: dict[str, int] = {}
        self._is_complete = False
        self._supervisor = Supervisor(str(LOCAL), LOGS, self._on_pids)
        self._env: dict[str, str] = {}
        self._meta_port = 0

    def run(self) -> None:
        """Start everything and keep it running until SIGTERM. Then stop it and remove its files."""
        stop_requested = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop_requested.set())
        try:
            self._start()
            while not stop_requested.wait(CHECK_SECONDS):
                self._supervisor.check()
        finally:
            STACK_FILE.unlink(missing_ok=True)
            ENV_FILE.unlink(missing_ok=True)
            self._supervisor.stop()
            shutil.rmtree(DATA, ignore_errors=True)

    def _start(self) -> None:
        shutil.rmtree(DATA, ignore_errors=True)
        DATA.mkdir(mode=0o711)
        LOGS.mkdir(parents=True, exist_ok=True)
        self._start_servers()
        self._env = self._environment()
        for job in ("migrate", "topology"):
            self._run_job(job)
        self._reserve_simulated_meta()
        for name in ("processor", "ingress", "console", "token_health"):
            self._start_service(name, f"services.{name}")
        self._start_service("scheduler", "services.scheduler", "serve-schedule")
        self._make_api_key()
        self._start_simulated_meta()
        self._write_env()
        self._is_complete = True
        self._write()

    def _start_servers(self) -> None:
        """Start the servers, except those with a URL in the environment. Never stop the latter."""
        urls = {key: os.environ.get(name) for name, key in SERVER_URLS.items()}
        management = free_port()
        if not urls["rabbitmq"]:
            self._content["rabbitmq_management"] = f"http://{LOOPBACK}:{management}"
            for program in servers.rabbitmq(DATA, management_port=management):
                self._supervisor.start(program)
            urls["rabbitmq"] = program.url
        if not urls["redis"]:
            urls["redis"] = self._start_program(servers.redis(DATA))
        if not urls["database"]:
            url = self._start_program(servers.postgresql(DATA, fsync=True))
            urls["database"] = asyncio.run(_create_database(url))
        self._content |= urls

    def _start_program(self, program: Program) -> str:
        self._supervisor.start(program)
        return program.url

    def _environment(self) -> dict[str, str]:
        self._content["app_secret"] = secrets.token_hex(16)
        self._content["verify_token"] = secrets.token_hex(16)
        self._content["token_encryption_key"] = secrets.token_hex(32)
        self._content["subject_hash_key"] = secrets.token_hex(32)
        self._content["body_encryption_key"] = secrets.token_hex(32)
        return {
            "ENVIRONMENT": "local",
            "HOST": LOOPBACK,
            "DATABASE_URL": self._content["database"],
            "REDIS_URL": self._content["redis"],
            "RABBITMQ_URL": self._content["rabbitmq"],
            "META_APP_SECRET": self._content["app_secret"],
            "META_WEBHOOK_VERIFY_TOKEN": self._content["verify_token"],
            "BODY_ENCRYPTION_KEY": self._content["body_encryption_key"],
            "TOKEN_ENCRYPTION_KEY": self._content["token_encryption_key"],
            "SUBJECT_HASH_KEY": self._content["subject_hash_key"],
            "META_APP_ID": META_APP_ID,
            "META_CONFIG_ID": META_CONFIG_ID,
            "META_APP_ACCESS_TOKEN": f"{META_APP_ID}|{self._content['app_secret']}",
            "META_SYSTEM_USER_TOKEN": secrets.token_urlsafe(48),
        }

    def _run_job(self, job: str) -> None:
        with (LOGS / f"{job}.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "services.scheduler", job],
                env={**os.environ, **self._env},
                stdout=log,
                stderr=log,
                check=True,
            )

    def _start_service(self, name: str, *module: str) -> None:
        port, health_port = free_port(), free_port()
        own = {"PORT": str(port), "HEALTH_PORT": str(health_port)}
        if name == "console":
            own["CONSOLE_URL"] = f"http://{LOOPBACK}:{port}"
        if FAKE_CLOCKS in os.environ:
            own |= Clocks(CLOCKS).environment(name)
        self._supervisor.start(
            Program(
                name,
                [sys.executable, "-m", *module],
                partial(_answers, f"http://{LOOPBACK}:{health_port}/readyz"),
                env=self._env | own,
            )
        )
        if name in self._content:
            self._content[name] = f"http://{LOOPBACK}:{port}"
        self._content.setdefault("health", {})[name] = f"http://{LOOPBACK}:{health_port}"

    def _reserve_simulated_meta(self) -> None:
        """Choose its address, which the services need. It starts last: it calls the ingress."""
        self._meta_port = free_port()
        url = f"http://{LOOPBACK}:{self._meta_port}"
        self._content["simulated_meta"] = url
        self._env |= {
            "META_GRAPH_URL": url,
            "META_DIALOG_URL": url,
            "META_SDK_URL": f"{url}/sdk.js",
        }

    def _make_api_key(self) -> None:
        self._content["api_key"] = asyncio.run(_create_api_key(self._content["database"]))

    def _start_simulated_meta(self) -> None:
        url = self._content["simulated_meta"]
        self._supervisor.start(
            Program(
                "simulated_meta",
                [sys.executable, "-m", "deploy.local.simulated_meta"],
                partial(_answers, f"{url}/simulator/webhooks"),
                env=self._env
                | {
                    "PORT": str(self._meta_port),
                    "CALLBACK_URL": f"{self._content['ingress']}{PATH}",
                },
            )
        )

    def _write_env(self) -> None:
        ENV_FILE.touch(mode=0o600)
        exported = self._env | {ENV_MARK: str(ENV_FILE)}
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in exported.items())
        ENV_FILE.write_text("".join(lines))

    def _on_pids(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        if self._is_complete:
            self._write()

    def _write(self) -> None:
        LOCAL.mkdir(exist_ok=True)
        draft = STACK_FILE.with_suffix(".draft")
        draft.touch(mode=0o600)  # it has secrets of this stack
        draft.write_text(json.dumps(self._content | {"pids": self._pids}, indent=2) + "\n")
        draft.replace(STACK_FILE)


async def _create_database(server_url: str) -> str:
    conn = await asyncpg.connect(server_url)
    try:
        await conn.execute("CREATE DATABASE porteiro")
    finally:
        await conn.close()
    return server_url.rpartition("/")[0] + "/porteiro"


async def _create_api_key(database_url: str) -> str:
    conn = await asyncpg.connect(database_url)
    try:
        return await api_keys.create(
            conn,
            "local stack",
            None,
            expires_at=None,
            rights=api_keys.USUAL_RIGHTS,
            requester=Requester("local stack", "the demo"),
        )
    finally:
        await conn.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
