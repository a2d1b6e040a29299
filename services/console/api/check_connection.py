"""check-connection: does it work, since when is that known, and what to do if it does not."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.console.api.connections import After, MetaId
from services.console.api.connections import answer as connection_answer
from services.console.api.onboarding import OrganizationId, RemedyAnswer
from services.console.http.endpoints import ApiCall, Caller, Endpoint, Model, Problem
from shared.actions.connection_reads import read_connection
from shared.actions.follow_up_context import FollowUpContext
from shared.cache import Cache
from shared.crypto import Undecryptable
from shared.domain.facts import State
from shared.domain.graph_errors import GraphError
from shared.store.connections import tokens, views
from shared.store.connections.tokens import TokenState
from shared.store.connections.views import ConnectionView
from shared.store.pool import transaction

PATH = "/api/v1/whatsapp/check-connection"
MAX_CONNECTIONS = 100
#: A live check asks Meta of so many connections, unless it was asked just before: its limits are
#: low, for debug_token above all.
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
    def __init__(self, context: FollowUpContext, cache: Cache) -> None:
        self._context = context
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
            async with transaction(self._context.pool) as conn:
                await conn.execute("SELECT 1")
            return 200, CheckAnswer(status="up", connections=None)
        found = await self._found(call.caller, query)
        if query.live:
            found = await self._with_live_reads(found, query, call.caller)
        return 200, CheckAnswer(status="up", connections=[_checked(view) for view in found])

    async def _found(self, caller: Caller, query: CheckQuery) -> list[ConnectionView]:
        organization_id = caller.scope(query.organization_id)
        if query.waba_id is None:
            async with transaction(self._context.pool) as conn:
                return await views.connections(
                    conn,
                    organization_id=organization_id,
                    after=query.after,
                    limit=MAX_CONNECTIONS,
                )
        view = None
        if await self._owner(query.waba_id) is not None:
            async with transaction(self._context.pool) as conn:
                view = await views.connection(conn, query.waba_id, organization_id=organization_id)
        if view is None or view.organization_id is None:
            raise Problem(404, "no_such_connection", "There is no such connection.")
        return [view]

    async def _owner(self, waba_id: str) -> str | None:
        """Whose it is, if anybody's, as far as the cache knows; PostgreSQL decides what is told."""

        async def load() -> str | None:
            async with transaction(self._context.pool) as conn:
                view = await views.connection(conn, waba_id, organization_id=None)
            return None if view is None else view.organization_id

        return await self._cache.get("waba", waba_id, load)

    async def _with_live_reads(
        self, found: Sequence[ConnectionView], query: CheckQuery, caller: Caller
    ) -> list[ConnectionView]:
        stale = [v for v in found if (_age(v) or FRESH_SECONDS) >= FRESH_SECONDS]
        await asyncio.gather(*(self._read_live(view.waba_id) for view in stale[:MAX_LIVE]))
        return await self._found(caller, query)

    async def _read_live(self, waba_id: str) -> None:
        try:
            async with asyncio.timeout(LIVE_SECONDS):
                await read_connection(self._context, waba_id)
        except Undecryptable:
            async with transaction(self._context.pool) as conn:
                await tokens.mark_unknown(conn, waba_id)
        except (GraphError, TimeoutError):
            return  # the age of the last check says so


def _age(view: ConnectionView) -> float | None:
    if view.token_checked_at is None:
        return None
    return max(0.0, (datetime.now(UTC) - view.token_checked_at).total_seconds())


def _checked(view: ConnectionView) -> CheckedConnection:
    shown = connection_answer(view)
    is_sound = view.token_state in ("valid", "expiring")
    return CheckedConnection(
        waba_id=view.waba_id,
        organization_id=view.organization_id or "",
        is_working=view.state == "active" and is_sound,
        state=view.state,
        token_state=view.token_state,
        reason=shown.reason,
        remedy=shown.remedy,
        last_check_age=_age(view),
    )
