"""Problems: what every refused or failed request is answered with (RFC 9457)."""

from collections.abc import Mapping
from typing import Literal

import asyncpg
from aiohttp import web

from shared.actions.errors import Missing, NotAllowed, UseCaseError, WrongState
from shared.limits import OverLimit
from shared.store.errors import is_infrastructure

CONTENT_TYPE = "application/problem+json"
OUR_FAULT = "This is our fault, and logged."
#: Retry-After while PostgreSQL is unreachable.
RETRY_AFTER_SECONDS = "5"
#: The statuses that an endpoint refuses with.
RefusalStatus = Literal[400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503]


class Problem(Exception):
    """A refused request: `code` is for programs, `detail` for people. Never quotes a secret."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        super().__init__(code)

    def response(self, request_id: str) -> web.Response:
        """Return the response. `message` is the former name of `detail`."""
        body = {
            "type": f"urn:porteiro:problem:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "message": self.detail,
            "request_id": request_id,
        }
        response = web.json_response(
            body, status=self.status, headers=self.headers, content_type=CONTENT_TYPE
        )
        if self.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


#: What the errors of use cases are answered with.
_STATUSES: Mapping[type[UseCaseError], RefusalStatus] = {
    Missing: 404,
    NotAllowed: 403,
    WrongState: 409,
}


def problem_of(error: Exception) -> Problem:
    """Return what an error is answered with. What we did not foresee is our fault."""
    match error:
        case Problem():
            return error
        case UseCaseError():
            return Problem(_STATUSES[type(error)], error.code, str(error))
        case web.HTTPException():  # aiohttp's: no such path, or not with this method
            headers = {name: value for name, value in error.headers.items() if name == "Allow"}
            code = error.reason.lower().replace(" ", "_")
            return Problem(error.status, code, f"{error.reason}.", headers=headers)
        case asyncpg.PostgresConnectionError():
            return _unavailable()
    return _unavailable() if is_infrastructure(error) else Problem(500, "failed", OUR_FAULT)


def _unavailable() -> Problem:
    headers = {"Retry-After": RETRY_AFTER_SECONDS}
    return Problem(503, "unavailable", "Try again soon.", headers=headers)


def limit_problem(over: OverLimit) -> Problem:
    return Problem(429, "too_many", "Too many requests.", headers=over.headers())
