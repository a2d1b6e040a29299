"""Where backups are kept: a folder, or a bucket of a store that speaks S3."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit


class StoreFailed(Exception):
    """The store could not be reached, or refused. The text names the operation and the error."""


class Writer(Protocol):
    def write(self, data: bytes, /) -> int: ...


class Store(Protocol):
    """Files by name. Each function raises StoreFailed."""

    def names(self) -> Sequence[str]: ...

    @contextmanager
    def create(self, name: str) -> Iterator[Writer]:
        """Yield a writer. The file exists once the block has ended, and not if the block raises."""
        ...

    @contextmanager
    def read(self, name: str) -> Iterator[IO[bytes]]: ...

    def delete(self, name: str) -> None: ...


def open_store(url: str) -> Store:
    """Return the store of `s3://bucket/prefix`, or of a folder's path."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        # boto3 would cost every command of `porteiro` a tenth of its start.
        from services.scheduler.backups.s3_store import S3Store  # noqa: PLC0415

        return S3Store(parts.netloc, parts.path.strip("/"))
    return Folder(Path(url))


class Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Sequence[str]:
        with failing("list", OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            return sorted(path.name for path in self._path.iterdir() if path.suffix != ".part")

    @contextmanager
    def create(self, name: str) -> Iterator[Writer]:
        draft = self._path / f"{name}.part"
        with failing("write", OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                draft.chmod(0o600)
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._path / name)

    @contextmanager
    def read(self, name: str) -> Iterator[IO[bytes]]:
        with failing("read", OSError), (self._path / name).open("rb") as file:
            yield file

    def delete(self, name: str) -> None:
        with failing("delete", OSError):
            (self._path / name).unlink(missing_ok=True)


@contextmanager
def failing(operation: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise StoreFailed in the place of these errors."""
    try:
        yield
    except errors as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        name = code or (isinstance(error, OSError) and error.strerror) or type(error).__name__
        raise StoreFailed(f"the store of backups could not {operation}: {name}") from None
