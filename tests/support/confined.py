"""Run a command as a pod's container does: uid 10001, a read-only root, no capabilities."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.source import ROOT

IS_POSSIBLE = os.geteuid() == 0 and bool(shutil.which("unshare") and shutil.which("setpriv"))

_PYTHON = Path(sys.executable).resolve().parents[1]
_VENV = Path(sys.executable).parents[1].resolve()
#: In a mount namespace of its own: Python, its packages and this tree stay readable for others,
#: wherever they are, also in /tmp; then the root becomes read-only, and /tmp is empty and writable.
_CONFINE = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/porteiro-python /run/porteiro-tree /run/porteiro-venv
mount --bind "$1" /run/porteiro-python
mount --bind "$2" /run/porteiro-tree
mount --bind "$3" /run/porteiro-venv
mount -t tmpfs -o mode=755 tmpfs "/$(echo "$1" | cut -d/ -f2)"
mkdir -p "$1"
mount --bind /run/porteiro-python "$1"
mount -t tmpfs -o mode=1777,size=64m tmpfs /tmp
mkdir -p "$3"
mount --bind /run/porteiro-venv "$3"
for folder in / /run/porteiro-tree "$1" "$3"; do mount -o remount,bind,ro "$folder"; done
cd /run/porteiro-tree
shift 3
exec setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set -all --inh-caps -all \
    --no-new-privs "$@"
"""


async def run_confined(command: Sequence[str], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Run the command with exactly this environment. Return its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", _CONFINE, "sh", str(_PYTHON), str(ROOT), str(_VENV),
        *command,
        env={
            "PATH": f"{_VENV}/bin:/usr/bin:/bin",
            "PYTHONPATH": "/run/porteiro-tree",
            "PYTHONWARNINGS": "ignore",
            **env,
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()
