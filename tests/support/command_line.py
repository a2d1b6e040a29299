"""Run the `porteiro` command in a process of its own."""

import asyncio
import os
import pty
import sys
import termios
from contextlib import suppress


async def porteiro(*arguments: str, **env: str) -> tuple[int | None, str]:
    """Run the command. Return its exit code and its log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", *arguments,
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()


async def on_terminal(*arguments: str, **env: str) -> tuple[int | None, str]:
    """Run the command on a terminal of 80 columns. Return its exit code and what it shows."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", *arguments,
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | env,
        stdin=its, stdout=its, stderr=its, start_new_session=True,
    )  # fmt: skip
    os.close(its)
    shown = await asyncio.wait_for(asyncio.to_thread(_read_all, ours), 60)
    os.close(ours)
    return await process.wait(), shown.replace("\r\n", "\n")


def _read_all(terminal: int) -> str:
    """Read until the last process has closed the terminal, which Linux tells by EIO."""
    parts = []
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            parts.append(part)
    return b"".join(parts).decode()
