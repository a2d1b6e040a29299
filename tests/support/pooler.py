"""Start a PgBouncer in front of a database."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.stack.install import find
from deploy.local.stack.servers import ASK_SSL, LOOPBACK, Program, free_port, reply
from deploy.local.stack.supervisor import Supervisor


@contextmanager
def pooler(database_url: str, settings: Mapping[str, str]) -> Iterator[str]:
    """Run PgBouncer with these settings. Yield the URL of the database through it."""
    url = urlsplit(database_url)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="porteiro-pooler-"))
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{url.username}" "{url.password}"\n')
    lines = [
        "[databases]",
        f"* = host={url.hostname} port={url.port}",
        "[pgbouncer]",
        f"listen_addr = {LOOPBACK}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = plain",
        f"auth_file = {users}",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    config.write_text("\n".join(lines) + "\n")
    user = "postgres" if os.geteuid() == 0 else None  # PgBouncer refuses to run as root
    if user:
        for path in (folder, users, config):
            shutil.chown(path, user)
    supervisor = Supervisor(str(folder), folder, lambda _: None)
    program = [str(find("pgbouncer")), str(config)]
    try:
        supervisor.start(
            Program("pgbouncer", program, lambda: reply(port, ASK_SSL) == b"N", user=user)
        )
        yield url._replace(netloc=f"{url.username}:{url.password}@{LOOPBACK}:{port}").geturl()
    finally:
        supervisor.stop()
        shutil.rmtree(folder)
