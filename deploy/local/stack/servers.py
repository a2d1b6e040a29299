"""Private PostgreSQL, Redis and RabbitMQ on free loopback ports: commands and readiness checks."""

import os
import secrets
import shutil
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

from deploy.local.stack.install import find

LOOPBACK = "127.0.0.1"
#: Below Linux's ephemeral range, so that no outgoing connection can use a server's port.
_PORTS = range(20_000, 32_000)
#: A server binds its port some seconds after the port was chosen. Meanwhile it must not be chosen
#: again: two processes rarely choose from the same share of the ports (by process id), and a
#: process never chooses one of its recent ports.
_SHARES = 16
_RECENT_PORTS: deque[int] = deque(maxlen=200)

#: An SSLRequest. PostgreSQL and PgBouncer answer it with one byte, before any authentication.
ASK_SSL = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@dataclass(frozen=True, slots=True)
class Program:
    """A process to keep running. `is_up` returns True if the process answers."""

    name: str
    command: list[str]
    is_up: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    url: str = ""


def free_port() -> int:
    """Return a loopback port that is free now."""
    ports = _PORTS[os.getpid() % _SHARES :: _SHARES]
    while True:
        port = SystemRandom().choice(ports)
        if port in _RECENT_PORTS:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _RECENT_PORTS.append(port)
        return port


def reply(port: int, request: bytes, size: int = 64) -> bytes:
    """Send a request. Return the first bytes of the reply, or nothing if no server listens."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as client:
            client.sendall(request)
            return client.recv(size)
    except OSError:
        return b""


def postgresql(folder: Path, *, fsync: bool, options: Mapping[str, str] | None = None) -> Program:
    """Create a PostgreSQL cluster in `folder`. Return its program.

    PostgreSQL refuses to run as root. For root it runs as `postgres`, the user of its package.
    `options` are more settings of postgresql.conf; they override ours.
    """
    user = "postgres" if os.geteuid() == 0 else None
    port, password = free_port(), secrets.token_hex(16)
    data = folder / "postgresql"
    data.mkdir(parents=True)
    password_file = folder / "postgresql.password"
    password_file.write_text(password)
    if user:
        shutil.chown(data, user)
        shutil.chown(password_file, user)
    subprocess.run(
        [_program_path("initdb"), "--pgdata", data, "--auth=scram-sha-256", "--username=porteiro",
         f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync"],
        stdout=subprocess.DEVNULL, user=user, cwd="/", check=True,
    )  # fmt: skip
    settings = {
        "listen_addresses": LOOPBACK,
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        "fsync": "on" if fsync else "off",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
    } | dict(options or {})
    flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return Program(
        "postgresql",
        [_program_path("postgres"), "-D", str(data), *flags],
        lambda: reply(port, ASK_SSL) in (b"N", b"S") and not _is_starting(data),
        user=user,
        url=f"postgresql://porteiro:{password}@{LOOPBACK}:{port}/postgres",
    )


def _is_starting(data: Path) -> bool:
    """Return True until the last line of postmaster.pid is `ready`."""
    try:
        return (data / "postmaster.pid").read_text().split()[-1] != "ready"
    except (OSError, IndexError):
        return True


def redis(folder: Path) -> Program:
    """Create a configuration in `folder`. Return the program."""
    port, password = free_port(), secrets.token_hex(16)
    data = folder / "redis"
    data.mkdir(parents=True)
    settings = {
        "bind": LOOPBACK, "port": port, "dir": data, "requirepass": password, "save": "",
        "databases": 64, "set-proc-title": "no",
    }  # fmt: skip
    config = data / "redis.conf"
    config.write_text("".join(f'{key} "{value}"\n' for key, value in settings.items()))
    return Program(
        "redis",
        [_program_path("redis-server"), str(config)],
        lambda: reply(port, b"AUTH %b\r\nPING\r\n" % password.encode()).startswith(b"+OK"),
        url=f"redis://:{password}@{LOOPBACK}:{port}/0",
    )


def rabbitmq(folder: Path, *, management_port: int | None) -> list[Program]:
    """Create a configuration in `folder`. Return the port mapper and RabbitMQ, in this order.

    Without its own port mapper, RabbitMQ would start one that listens on all interfaces.
    """
    port, mapper_port, distribution_port = free_port(), free_port(), free_port()
    password = secrets.token_hex(16)
    data = folder / "rabbitmq"
    data.mkdir(parents=True)
    lines = [
        f"listeners.tcp.default = {LOOPBACK}:{port}",
        "default_user = porteiro",
        f"default_pass = {password}",
        "disk_free_limit.absolute = 100MB",
        "log.console = true",
        "log.console.level = warning",
        "log.file = false",
    ]
    if management_port:
        lines += [
            f"management.tcp.ip = {LOOPBACK}",
            f"management.tcp.port = {management_port}",
        ]
    (data / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    (data / "plugins").write_text("[rabbitmq_management].\n" if management_port else "[].\n")
    mapper = {"ERL_EPMD_PORT": str(mapper_port), "ERL_EPMD_ADDRESS": LOOPBACK}
    env = mapper | {
        "HOME": str(data),  # the Erlang cookie is there
        "RABBITMQ_NODENAME": f"porteiro-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data / "log"),
        "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
        # With this the script replaces itself by the Erlang VM: the pid is the server's own.
        "RUNNING_UNDER_SYSTEMD": "true",
        # Listen on loopback only. Idle schedulers sleep instead of using a shared core.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
        ),
    }
    return [
        Program(
            "epmd",
            [_program_path("epmd"), "-port", str(mapper_port), "-address", LOOPBACK],
            lambda: reply(mapper_port, b"\x00\x01n") != b"",
        ),
        Program(
            "rabbitmq",
            [_program_path("rabbitmq-server")],
            # RabbitMQ answers a wrong protocol header with the right one.
            lambda: reply(port, b"AMQP\x00\x00\x00\x00").startswith(b"AMQP"),
            env=env,
            url=f"amqp://porteiro:{password}@{LOOPBACK}:{port}/%2F",
        ),
    ]


def _program_path(name: str) -> str:
    path = find(name)
    if path is None:
        raise FileNotFoundError(name)
    return path
