"""Run the `porteiro` command in a process of its own."""

import asyncio
import os
import sys


async def porteiro(*arguments: str, **env: str) -> tuple[int | None, str]:
    """Run the command. Return its exit code and its log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", *arguments,
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()
