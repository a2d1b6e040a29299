"""Stream a dump of PostgreSQL through age, out and back in, without a file in clear."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import parse_qsl, unquote, urlsplit

import pyrage

from services.scheduler.backups.stores import Writer

#: How long pg_dump waits for a lock. It waits behind whoever waits to alter a table that our own
#: snapshot keeps from being altered: neither would ever go on, and the services wait behind both.
LOCK_SECONDS = 15


class DumpFailed(Exception):
    """pg_dump or pg_restore failed, or the backup cannot be read. The text says what it said."""


class Written:
    """Hashes and counts what is written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._hash = sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._writer.write(data)
        return len(data)

    def flush(self) -> None:
        pass

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class _HashingReader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def dump(database_url: str, snapshot: str, recipient: str, writer: Writer) -> Written:
    """Write the encrypted dump of an exported snapshot. Return its hash and size.

    Blocking. Raise DumpFailed, also if a table is locked for LOCK_SECONDS. pg_dump must not be
    older than the server.
    """
    command = ["pg_dump", "--format=custom", "--compress=1", f"--snapshot={snapshot}"]
    command.append(f"--lock-wait-timeout={LOCK_SECONDS}s")
    written = Written(writer)
    with _running(command, database_url, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pyrage.encrypt_io(process.stdout, written, [pyrage.x25519.Recipient.from_str(recipient)])
    return written


def restore(database_url: str, identity: str, file: IO[bytes], expected_sha256: str) -> None:
    """Restore an encrypted dump into an empty database. Blocking.

    Raise DumpFailed: for another identity's dump, for one that was changed or cut off, or if
    pg_restore failed. What was restored by then is worthless.
    """
    key = pyrage.x25519.Identity.from_str(identity)
    command = ["pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", "--dbname="]
    reader = _HashingReader(file)
    with _running(command, database_url, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            pyrage.decrypt_io(reader, process.stdin, [key])
        except BrokenPipeError:
            pass  # pg_restore has failed, and said why
        except (pyrage.DecryptError, OSError) as error:
            raise DumpFailed(f"the backup cannot be decrypted: {error}") from None
    if reader.sha256 != expected_sha256:
        raise DumpFailed("the backup is not the one that its manifest describes")


@contextmanager
def _running(
    command: list[str],
    database_url: str,
    *,
    stdin: int | None = None,
    stdout: int | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program of PostgreSQL's on this database during the block.

    Kill it if the block raises. Raise DumpFailed if it fails.
    """
    environment = os.environ | connection_environment(database_url)
    with (
        TemporaryFile() as said,
        subprocess.Popen(
            command, env=environment, stdin=stdin, stdout=stdout, stderr=said
        ) as process,
    ):
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        if process.stdin is not None:
            process.stdin.close()
        if process.wait():
            said.seek(0)
            raise DumpFailed(_explain(command[0], said.read().decode(errors="replace")))


def _explain(program: str, said: str) -> str:
    if "timeout" in said:  # that of --lock-wait-timeout: pg_dump has no other
        return f"a table was locked for {LOCK_SECONDS} s by work that alters it: run it again later"
    lines = said.strip().splitlines() or [""]
    errors = [line for line in lines if "error:" in line]  # details may follow
    return f"{program} failed: {(errors or lines)[-1][:300]}"


def connection_environment(database_url: str) -> Mapping[str, str]:
    """Return the URL as libpq's variables: on a command line others would see the password."""
    parts = urlsplit(database_url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    servers = [server.rpartition(":") for server in hosts.split(",")]
    values = {
        "PGHOST": ",".join(host or port for host, _, port in servers),
        "PGPORT": ",".join(port if host else "" for host, _, port in servers),
        "PGUSER": unquote(user),
        "PGPASSWORD": unquote(password),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
    }
    for name, value in parse_qsl(parts.query):
        if name in ("sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "user"):
            values[f"PG{name.upper()}"] = value
    return {name: value for name, value in values.items() if value.strip(",")}
