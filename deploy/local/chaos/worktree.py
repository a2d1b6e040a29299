"""Check a commit out into a folder of its own, with its own environment if it is to run."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@contextmanager
def worktree(ref: str) -> Iterator[Path]:
    """Yield the folder. Remove it at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"porteiro-{ref}-"))
    run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run(["git", "worktree", "add", "--detach", "--force", str(folder), ref])
    try:
        yield folder
    finally:
        run(["git", "worktree", "remove", "--force", str(folder)])


@dataclass(frozen=True, slots=True)
class Version:
    """Code in a folder, with the Python of its own environment."""

    name: str
    folder: Path
    python: str


@contextmanager
def checked_out(ref: str, lock: str) -> Iterator[Version]:
    """Check the version out, and make its environment from its lock file `lock`."""
    with worktree(ref) as folder:
        python = folder / ".venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(folder / ".venv")], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        locked = ["--require-hashes", "--no-deps", "-r", str(folder / lock)]
        subprocess.run([*pip, *locked], check=True, stdout=subprocess.DEVNULL)
        yield Version(ref, folder, str(python))
