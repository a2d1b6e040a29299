"""Wait for a condition, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 20.0


async def eventually(
    check: Callable[[], Awaitable[T | None]],
    *,
    seconds: float = DEADLINE_SECONDS,
    pause_seconds: float = 0.02,
) -> T:
    """Call `check` until it returns a true value. Return that value. Raise TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := await check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {value!r} after {seconds} s")
        await asyncio.sleep(pause_seconds)
    return value
