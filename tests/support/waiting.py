"""Wait for the thing, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 20.0


async def eventually(
    look: Callable[[], Awaitable[T | None]], *, seconds: float = DEADLINE_SECONDS
) -> T:
    """The first true value `look` gives. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {found!r} after {seconds} s")
        await asyncio.sleep(0.02)
    return found
