"""Read the body of a request within a time, at a pace and up to a size."""

import asyncio
from collections.abc import Callable

from aiohttp import web

#: Meta's own limit is 3 MB (Webhooks overview, Apr 2026).
MAX_BODY_BYTES = 3_145_728
#: The time to read the rest of a body after the head of the request.
BODY_SECONDS = 5.0
#: The slowest pace of a body, after its FIRST_SECONDS: a lost packet costs one of them.
BYTES_PER_SECOND = 20_000
FIRST_SECONDS = 3.0


class BodyLate(Exception):
    """The body came too slowly."""


class BodyTooLarge(Exception):
    """The body has, or would have, more than MAX_BODY_BYTES."""


async def read_body(request: web.Request, arrived: Callable[[int], None]) -> bytes:
    """Return the body. Call `arrived` with the number of bytes whenever some come.

    Raise BodyLate, BodyTooLarge, or what `arrived` raises. The rest of the body is then unread.
    """
    loop = asyncio.get_running_loop()
    since, size, parts = loop.time(), 0, []
    try:
        async with asyncio.timeout_at(since + FIRST_SECONDS) as deadline:
            async for part in request.content.iter_any():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise BodyTooLarge
                arrived(len(part))
                parts.append(part)
                seconds = min(BODY_SECONDS, FIRST_SECONDS + size / BYTES_PER_SECOND)
                deadline.reschedule(since + seconds)
    except TimeoutError:
        raise BodyLate from None
    return b"".join(parts)
