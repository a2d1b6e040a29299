"""check-connection: whether a connection works, how old that information is, and the remedy."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.console.api.connections import connection_answer
from services.console.api.fields import MetaId, OrganizationId, ReasonWord
from services.console.api.lists import Page, PageAnswer, PageQuery, page_of
from services.console.api.remedy_answer import RemedyAnswer, remedy_answer
from services.console.http.endpoints import ApiCall, Caller, Endpoint
from services.console.http.problems import Problem, limit_problem
from shared.actions.connection_checks import check_connection
from shared.cache import Cache
from shared.crypto import KeyRing, Undecryptable
from shared.domain.facts import State
from shared.domain.remedies import remedy
from shared.domain.token_health import TokenState
from shared.graph.client import Graph
from shared.limits import Limit, Limiter
from shared.store.connections import views
from shared.store.connections.views import ConnectionView
from shared.store.pool import Pool, ping, transaction

PATH = "/api/v1/whatsapp/check-connection"
#: A live check asks Meta about this many connections at most, and not about those checked within
#: FRESH_SECONDS: Meta's limits are low, above all for debug_token.
MAX_LIVE = 10
FRESH_SECONDS = 60.0
LIVE_SECONDS = 5.0
#: Connections that live checks ask about, of an organization or of a company's key that names none.
PER_LIVE_CHECK = Limit("live_check", 30)


class CheckQuery(PageQuery):
    organization_id: OrganizationId | None = None
    waba_id: MetaId | None = None
    live: Annotated[bool, Field(description="Ask Meta now, unless it was just asked")] = False


class CheckedConnection(BaseModel):
    """`is_working`: messages and webhooks flow, as far as is known. Ages are in seconds. `doubt`:
    Meta's last answer was bad, so it is not working now; the state changes if Meta says the same
    five minutes later."""

    waba_id: str
    organization_id: str
    is_working: bool
    state: State
    token_state: TokenState
    reason: ReasonWord | None
    remedy: RemedyAnswer | None
    doubt: ReasonWord | None
    last_check_age: Annotated[float, Field(ge=0)] | None
    last_check_at: datetime | None
    next_check_at: datetime | None


class CheckAnswer(PageAnswer):
    """Without a key nothing but `status`."""

    status: Literal["up"]
    connections: list[CheckedConnection] | None


class CheckApi:
    def __init__(
        self, pool: Pool, ring: KeyRing, graph: Graph, cache: Cache, limiter: Limiter
    ) -> None:
        self._limiter = limiter
        self._pool = pool
        self._ring = ring
        self._graph = graph
        self._cache = cache

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "GET", PATH, "checkConnection",
                "Whether an organization's connections work; without a key: whether we do",
                "With `live` Meta is asked now about 10 connections at most, unless its last"
                " answer is less than a minute old.",
                self.check, {200: CheckAnswer}, refuses=(401, 403, 404), query=CheckQuery,
                needs_key=False,
            ),
        )  # fmt: skip

    async def check(self, call: ApiCall) -> tuple[int, CheckAnswer]:
        query: CheckQuery = call.query
        if call.caller is None:
            if query.organization_id or query.waba_id:
                raise Problem(401, "key_needed", "Without a key nothing is told of connections.")
            await ping(self._pool)
            return 200, CheckAnswer(status="up", connections=None, next_after=None)
        page, next_after = await self._load(call.caller, query)
        if query.live:
            await self._read_all_live(page, call)
            page, next_after = await self._load(call.caller, query)
        return 200, CheckAnswer(
            status="up",
            connections=[_check_answer(view) for view in page],
            next_after=next_after,
        )

    async def _load(self, caller: Caller, query: CheckQuery) -> Page[ConnectionView]:
        """Return the connections that the caller asks for, as PostgreSQL has them.

        Raises Problem if the caller may not read the organization or WABA it names.
        """
        organization_id = caller.scope(query.organization_id)
        if query.waba_id is None:
            async with transaction(self._pool) as conn:
                found = await views.connections(
                    conn,
                    organization_id=organization_id,
                    after=query.after,
                    limit=query.limit + 1,
                )
            return page_of(found, query.limit)
        view = None
        if await self._cached_owner(query.waba_id) is not None:
            async with transaction(self._pool) as conn:
                view = await views.connection(conn, query.waba_id, organization_id=organization_id)
        if view is None or view.organization_id is None:
            raise Problem(404, "no_such_connection", "There is no such connection.")
        return [view], None

    async def _cached_owner(self, waba_id: str) -> str | None:
        """Return the WABA's owner as the cache has it, or None.

        It may be out of date: PostgreSQL decides what the caller reads.
        """

        async def load() -> str | None:
            async with transaction(self._pool) as conn:
                view = await views.connection(conn, waba_id, organization_id=None)
            return None if view is None else view.organization_id

        return await self._cache.get("waba", waba_id, load)

    async def _read_all_live(self, connections: Sequence[ConnectionView], call: ApiCall) -> None:
        """Ask Meta about the connections whose last check is old.

        Raises Problem if PER_LIVE_CHECK is spent; if it is spent half-way, others are not asked
        about.
        """
        stale = [view.waba_id for view in connections if not _is_fresh(view)][:MAX_LIVE]
        spender = call.organization_id or str(call.authenticated.key_id)
        asked: list[str] = []
        for waba_id in stale:
            over = await self._limiter.count(PER_LIVE_CHECK, spender)
            if over is not None and not asked:
                raise limit_problem(over)
            if over is not None:
                break
            asked.append(waba_id)
        await asyncio.gather(*map(self._read_live, asked))

    async def _read_live(self, waba_id: str) -> None:
        try:
            async with asyncio.timeout(LIVE_SECONDS):
                await check_connection(self._pool, self._ring, self._graph, waba_id)
        except (TimeoutError, Undecryptable):
            return  # the caller sees it by the age of the last check


def _is_fresh(view: ConnectionView) -> bool:
    age = _age(view)
    return age is not None and age < FRESH_SECONDS


def _age(view: ConnectionView) -> float | None:
    """Return the seconds since the last check, or None if it was never checked."""
    if view.token_checked_at is None:
        return None
    return max(0.0, (datetime.now(UTC) - view.token_checked_at).total_seconds())


def _check_answer(view: ConnectionView) -> CheckedConnection:
    answer = connection_answer(view)
    doubt = view.token_doubt if view.state == "active" else None
    is_token_valid = view.token_state in ("valid", "expiring")
    return CheckedConnection(
        waba_id=view.waba_id,
        organization_id=view.organization_id or "",
        is_working=view.state == "active" and is_token_valid and doubt is None,
        state=view.state,
        token_state=view.token_state,
        reason=answer.reason or doubt,
        remedy=answer.remedy if answer.reason else remedy_answer(remedy(doubt)),
        doubt=view.token_doubt,
        last_check_age=_age(view),
        last_check_at=view.token_checked_at,
        next_check_at=view.next_check_at,
    )
