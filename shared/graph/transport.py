"""One call to Meta: a deadline, no redirects, a bounded answer; each failure is a GraphError."""

import asyncio
import hmac
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import aiohttp
import orjson
import structlog

from shared.domain.graph_errors import (
    NUMBER_LIMITS,
    GraphError,
    MetaThrottled,
    MetaUnavailable,
    graph_error,
)
from shared.domain.json_object import Json
from shared.graph.metrics import GraphMetrics
from shared.graph.usage import MAX_PERCENT, AppUsage, Usage, app_usage

log = structlog.get_logger()

#: Well below the time of a follow-up's lease.
CALL_SECONDS = 10.0
MAX_ANSWER_BYTES = 1_000_000
#: Meta's error code for the limit of the whole app.
APP_LIMIT = 4

T = TypeVar("T")
Method = Literal["GET", "POST", "DELETE"]
#: Keeps a failed call: its subject, its number, and the error with Meta's codes.
KeepFailure = Callable[[str, str, GraphError], Awaitable[None]]


@dataclass(frozen=True, slots=True, repr=False)
class GraphCall:
    """A call. `name` labels the metrics. `subject` is the WABA or the onboarding it is about,
    `phone_number_id` the number; empty: the whole WABA. `limited_by` is the WABA or business whose
    limit it uses; empty: the app's, of which it is sent while at most `max_percent` is used.

    `path` holds only our own words and ids of digits. An `is_urgent` call would be useless later:
    it is sent even if a limit is near. `means` says what an error of Meta's means in this call. A
    call holds tokens, so its repr is off.
    """

    name: str
    subject: str
    method: Method
    path: str
    token: str | None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None
    phone_number_id: str = ""
    limited_by: str = ""
    is_urgent: bool = False
    max_percent: float = MAX_PERCENT
    means: Callable[[GraphError], GraphError] = lambda error: error


class Transport:
    """Send calls to the base URL of the configuration. Nothing from outside can choose the host."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        secret: bytes,
        metrics: GraphMetrics,
        keep_failure: KeepFailure,
        app_usage: AppUsage | None = None,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._secret = secret
        self._metrics = metrics
        self._keep_failure = keep_failure
        self._usage = Usage()
        self._app_usage = app_usage or AppUsage()

    def proof(self, token: str) -> dict[str, str]:
        """Return the parameter that proves that the sender of the token also has the app secret
        (Graph API, Securing requests)."""
        return {"appsecret_proof": hmac.digest(self._secret, token.encode(), "sha256").hex()}

    async def call(self, call: GraphCall, parse: Callable[[Json], T]) -> T:
        """Send the call and return what `parse` makes of the answer's JSON object. Raise GraphError
        on any failure, and keep it.

        Raise MetaThrottled without sending if a limit is near, unless the call is urgent.
        """
        now = asyncio.get_running_loop().time()
        if (left := await self._seconds_left(call, now)) and not call.is_urgent:
            self._metrics.calls.labels(call.name, "not_sent").inc()
            raise MetaThrottled(left)
        try:
            with self._metrics.seconds.time():
                answer = parse(await self._call(call))
        except GraphError as meant:
            error = call.means(meant)
            error.step = call.name
            self._metrics.calls.labels(call.name, error.policy).inc()
            log.warning(
                "graph.call_failed", step=call.name, path=call.path, reason=error.reason,
                code=error.code, subcode=error.subcode,
            )  # fmt: skip
            if isinstance(error, MetaThrottled) and error.code not in NUMBER_LIMITS:
                if call.limited_by:
                    self._usage.pause(call.limited_by, error.seconds, now)
                if error.code == APP_LIMIT or not call.limited_by:
                    await self._app_usage.record(100.0, error.seconds, now)
            await self._keep_failure(call.subject, call.phone_number_id, error)
            raise error from None
        self._metrics.calls.labels(call.name, "ok").inc()
        return answer

    async def _seconds_left(self, call: GraphCall, now: float) -> float:
        if call.limited_by:
            return self._usage.seconds_left(call.limited_by, now)
        return 0.0 if call.is_urgent else await self._app_usage.seconds_left(call.max_percent, now)

    async def _call(self, call: GraphCall) -> Json:
        try:
            async with self._session.request(
                call.method,
                f"{self._base_url}/{call.path}",
                params=call.query,
                json=call.body,
                headers={"Authorization": f"Bearer {call.token}"} if call.token else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            ) as response:
                now = asyncio.get_running_loop().time()
                wait = await self._record_usage(response.headers, call, now)
                answer = await _read(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError):
            # Drop the exception: it may quote the URL, which may hold a token.
            raise MetaUnavailable("meta_unavailable") from None
        if response.status == 200 and isinstance(answer, dict) and "error" not in answer:
            return answer
        raise _error(answer, response.status, wait)

    async def _record_usage(
        self, headers: Mapping[str, str], call: GraphCall, now: float
    ) -> float | None:
        """Return how long calls pause if a limit is near, else None."""
        if call.limited_by:
            return self._usage.record(headers, call.limited_by, now)
        if (used := app_usage(headers)) is None:
            return None
        percent, seconds = used
        await self._app_usage.record(percent, seconds, now)
        return seconds if percent >= MAX_PERCENT else None


def _error(answer: object, status: int, wait_seconds: float | None) -> GraphError:
    error = answer.get("error") if isinstance(answer, dict) else None
    fields = error if isinstance(error, dict) else {}
    return graph_error(
        _code(fields.get("code")),
        _code(fields.get("error_subcode")),
        status=status,
        is_transient=fields.get("is_transient") is True,
        wait_seconds=wait_seconds,
    )


def _code(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


async def _read(response: aiohttp.ClientResponse) -> object:
    """Return the parsed answer, or None if it is too large or not JSON."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            response.close()
            return None
    try:
        return orjson.loads(bytes(content))
    except orjson.JSONDecodeError:
        return None


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET whose answer was cut (aiohttp 3.14,
    `ClientSession._request`).

    The first GET may have spent a code. The repeated GET would then be refused, and the refusal
    would hide that the code was spent by us.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError):
        raise MetaUnavailable("meta_unavailable") from None


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session without cookies and without the environment's proxies.

    Each call opens a new connection. On a reused one, which Meta may have closed already, a POST
    would fail for no reason, and attempts of the register call are limited.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=(_send_once,),
    ) as session:
        yield session
