"""The id of a request: in its answer, in what is logged of it, and in its problem."""

import re

from aiohttp import web
from uuid_utils.compat import uuid7

HEADER = "X-Request-Id"
#: What a caller's own id may be: it is logged, so nothing as long as a token.
SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id_of(request: web.Request) -> str:
    """Return the caller's id of the request if it is safe, else a new one."""
    sent = request.headers.get(HEADER, "")
    return sent if SAFE.fullmatch(sent) else str(uuid7())
