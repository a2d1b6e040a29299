"""check-connection: whether a connection works, how old that information is, and the remedy."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.console.api.connections import After, MetaId, connection_answer
from services.console.api.onboarding import OrganizationId, RemedyAnswer
from services.console.http.endpoints import ApiCall, Caller, Endpoint, Model, Problem
from shared.actions.connection_reads import read_connection
from shared.cache import Cache
from shared.crypto import KeyRing, Undecryptable
from shared.domain.facts import State
from shared.domain.graph_errors import GraphError
from shared.graph.client import Graph
from shared.store.connections import tokens, views
from shared.store.connections.tokens import TokenState
from shared.store.connections.views import ConnectionView
from shared.store.pool import Pool, ping, transaction

PATH = "/api/v1/whatsapp/check-connection"
MAX_CONNECTIONS = 100
#: A live check asks Meta about this many connections at most, and not about those checked within
#: FRESH_SECONDS: Meta's limits are low, above all for debug_token.
MAX_LIVE = 10
FRESH_SECONDS = 60.0
LIVE_SECONDS = 5.0


class CheckQuery(Model):
    organization_id: OrganizationId | None = None
    waba_id: MetaId | None = None
    after: After = ""
    live: bool = False


class CheckedConnection(BaseModel):
    """`is_working`: messages and webhooks flow, as far as is known. Ages are in seconds."""

    waba_id: str
    organization_id: str
    is_working: bool
    state: State
    token_state: TokenState
    reason: str | None
    remedy: RemedyAnswer | None
    last_check_age: Annotated[float, Field(ge=0)] | None


class CheckAnswer(BaseModel):
    """Without a key nothing but `status`. At most 100 connections, by WABA; what follows: the same
    request with `after` the last."""

    status: Literal["up"]
    connections: list[CheckedConnection] | None


class CheckApi:
    def __init__(self, pool: Pool, ring: KeyRing, graph: Graph, cache: Cache) -> None:
        self._pool = pool
        self._ring = ring
        self._graph = graph
        self._cache = cache

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "GET", PATH, "checkConnection",
                "Whether an organization's connections work; without a key: whether we do",
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
            return 200, CheckAnswer(status="up", connections=None)
        connections = await self._load(call.caller, query)
        if query.live:
            connections = await self._with_live_reads(connections, query, call.caller)
        return 200, CheckAnswer(
            status="up", connections=[_check_answer(view) for view in connections]
        )

    async def _load(self, caller: Caller, query: CheckQuery) -> list[ConnectionView]:
        """Return the connections that the caller asks for, as PostgreSQL has them.

        Raises Problem if the caller may not read the organization or WABA it names.
        """
        organization_id = caller.scope(query.organization_id)
        if query.waba_id is None:
            async with transaction(self._pool) as conn:
                return await views.connections(
                    conn,
                    organization_id=organization_id,
                    after=query.after,
                    limit=MAX_CONNECTIONS,
                )
        view = None
        if await self._cached_owner(query.waba_id) is not None:
            async with transaction(self._pool) as conn:
                view = await views.connection(conn, query.waba_id, organization_id=organization_id)
        if view is None or view.organization_id is None:
            raise Problem(404, "no_such_connection", "There is no such connection.")
        return [view]

    async def _cached_owner(self, waba_id: str) -> str | None:
        """Return the WABA's owner as the cache has it, or None.

        It may be out of date: PostgreSQL decides what the caller reads.
        """

        async def load() -> str | None:
            async with transaction(self._pool) as conn:
                view = await views.connection(conn, waba_id, organization_id=None)
            return None if view is None else view.organization_id

        return await self._cache.get("waba", waba_id, load)

    async def _with_live_reads(
        self, connections: Sequence[ConnectionView], query: CheckQuery, caller: Caller
    ) -> list[ConnectionView]:
        """Ask Meta about the connections whose last check is old, and load them again."""
        stale = [view for view in connections if not _is_fresh(view)]
        await asyncio.gather(*(self._read_live(view.waba_id) for view in stale[:MAX_LIVE]))
        return await self._load(caller, query)

    async def _read_live(self, waba_id: str) -> None:
        try:
            async with asyncio.timeout(LIVE_SECONDS):
                await read_connection(self._pool, self._ring, self._graph, waba_id)
        except Undecryptable:
            async with transaction(self._pool) as conn:
                await tokens.mark_unknown(conn, waba_id)
        except (GraphError, TimeoutError):
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
    is_token_valid = view.token_state in ("valid", "expiring")
    return CheckedConnection(
        waba_id=view.waba_id,
        organization_id=view.organization_id or "",
        is_working=view.state == "active" and is_token_valid,
        state=view.state,
        token_state=view.token_state,
        reason=answer.reason,
        remedy=answer.remedy,
        last_check_age=_age(view),
    )
