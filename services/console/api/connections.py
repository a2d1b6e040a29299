"""The connections API: read the status of connections, provision and disconnect them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.console.api.fields import (
    GoesOnAt,
    OrganizationId,
    ReasonWord,
    WabaPath,
)
from services.console.api.lists import (
    PageAnswer,
    PageQuery,
    page_of,
)
from services.console.api.number_answer import NumberAnswer, number_answer
from services.console.api.remedy_answer import RemedyAnswer, remedy_answer
from services.console.follow_up_nudges import FollowUpNudges
from services.console.http.endpoints import ApiCall, AuditReason, Endpoint, Model, OnBehalfOf
from services.console.http.problems import Problem, limit_problem
from shared.actions import connection_requests, disconnection
from shared.actions.number_states import standing
from shared.crypto import KeyRing
from shared.domain.facts import State
from shared.domain.token_health import TokenState
from shared.limits import Limit, Limiter
from shared.store.api_keys import Right
from shared.store.connections import views
from shared.store.connections.views import ConnectionView
from shared.store.pool import Conn, Pool, transaction

BASE = "/api/v1/whatsapp/connections"
CONNECTION_PATH = BASE + "/{waba_id}"
#: Tokens that a key may take a minute.
PER_TOKEN_KEY = Limit("token", 60)


class ListQuery(PageQuery):
    organization_id: OrganizationId | None = None
    state: Annotated[State, Field(description="Only those in this state")] | None = None


class DisconnectBody(Model):
    reason: AuditReason
    on_behalf_of: OnBehalfOf | None = None


class ConnectionAnswer(BaseModel):
    """`reason` says what keeps it from being active, `next_attempt_at` when it goes on by itself;
    `left_behind` what stays at Meta."""

    waba_id: str
    organization_id: str | None
    attribution: str
    state: State
    reason: ReasonWord | None
    remedy: RemedyAnswer | None
    next_attempt_at: GoesOnAt
    token_state: TokenState
    token_expires_at: datetime | None
    token_checked_at: datetime | None
    owner_business_id: str | None
    owned_since: datetime | None
    is_coexistence: bool
    left_behind: list[str]


class ConnectionsAnswer(PageAnswer):
    connections: list[ConnectionAnswer]


class OneAnswer(ConnectionAnswer):
    numbers: list[NumberAnswer]


class TokenBody(Model):
    reason: AuditReason
    on_behalf_of: OnBehalfOf | None = None


class TokenAnswer(BaseModel):
    """The customer's token: a secret. It is another one after each renewal, so keep none."""

    access_token: Annotated[str, Field(repr=False)]
    token_state: TokenState
    token_expires_at: datetime | None


class AcceptedAnswer(BaseModel):
    """It is under way; the connection tells how it goes."""

    status: Literal["accepted"] = "accepted"


#: What a request that is under way is answered with.
ACCEPTED = {202: AcceptedAnswer}


async def accepted(nudges: FollowUpNudges) -> tuple[int, AcceptedAnswer]:
    """Nudge the processor and return 202. Call after the commit."""
    await nudges.send()
    return 202, AcceptedAnswer()


class ConnectionsApi:
    def __init__(self, pool: Pool, ring: KeyRing, nudges: FollowUpNudges, limiter: Limiter) -> None:
        self._limiter = limiter
        self._pool = pool
        self._ring = ring
        self._nudges = nudges

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "GET", BASE, "listConnections", "Connections that have an owner",
                "By WABA: the caller's organization's, or with the company's key everybody's.",
                self.list, {200: ConnectionsAnswer}, refuses=(403,), query=ListQuery,
            ),
            Endpoint(
                "GET", CONNECTION_PATH, "getConnection", "One connection, with its numbers",
                "`reason` and `remedy` say what keeps it from being active, and who must act.",
                self.show, {200: OneAnswer}, refuses=(404,), path_model=WabaPath,
            ),
            Endpoint(
                "POST", f"{CONNECTION_PATH}/provision", "provisionConnection",
                "Try to bring it to work once more",
                "For when the cause of a blocked connection is removed.",
                self.provision, ACCEPTED, refuses=(403, 404, 409), path_model=WabaPath,
            ),
            Endpoint(
                "POST", f"{CONNECTION_PATH}/disconnect", "disconnectConnection",
                "Disconnect from our side: deregister, unsubscribe, forget the token",
                "No webhook that comes later is the organization's. `left_behind` of the connection"
                " then says what only the customer can remove at Meta.",
                self.disconnect, ACCEPTED, refuses=(403, 404), path_model=WabaPath,
                body=DisconnectBody,
            ),
            Endpoint(
                "POST", f"{CONNECTION_PATH}/token", "takeToken",
                "The customer's token, for the company's backend",
                "Only for a key of the company that was made with the right `token`. Each answer is"
                " in the audit log.",
                self.take_token, {200: TokenAnswer}, refuses=(403, 404, 409), path_model=WabaPath,
                body=TokenBody, own_right=Right.TOKEN,
            ),
        )  # fmt: skip

    async def list(self, call: ApiCall) -> tuple[int, ConnectionsAnswer]:
        query: ListQuery = call.query
        async with transaction(self._pool) as conn:
            found = await views.connections(
                conn,
                organization_id=call.authenticated.scope(query.organization_id),
                state=query.state,
                after=query.after,
                limit=query.limit + 1,
            )
        page, next_after = page_of(found, query.limit)
        return 200, ConnectionsAnswer(
            connections=[connection_answer(view) for view in page], next_after=next_after
        )

    async def show(self, call: ApiCall) -> tuple[int, OneAnswer]:
        async with transaction(self._pool) as conn:
            view = await self._find(conn, call)
            # A provisional owner sees the connection's state, but nothing inside it.
            shown = [] if view.is_provisional else await standing(conn, view.waba_id)
        answers = [number_answer(number) for number in shown]
        return 200, OneAnswer(**connection_answer(view).model_dump(), numbers=answers)

    async def provision(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            view = await find_proven(conn, call)
            requester = call.authenticated.requester()
            await connection_requests.request_provisioning(conn, view, requester)
        return await accepted(self._nudges)

    async def disconnect(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            await disconnection.request(
                conn,
                call.path.waba_id,
                organization_id=call.authenticated.organization_id,
                requester=call.authenticated.requester(call.body.reason, call.body.on_behalf_of),
            )
        return await accepted(self._nudges)

    async def take_token(self, call: ApiCall) -> tuple[int, TokenAnswer]:
        if call.authenticated.organization_id is not None:
            raise Problem(403, "company_only", "Only a key of the company may take tokens.")
        over = await self._limiter.count(PER_TOKEN_KEY, str(call.authenticated.key_id))
        if over is not None:
            raise limit_problem(over)
        async with transaction(self._pool) as conn:
            view = await find_proven(conn, call)
            token = await connection_requests.take_token(
                conn,
                self._ring,
                view,
                call.authenticated.requester(call.body.reason, call.body.on_behalf_of),
            )
        return 200, TokenAnswer(
            access_token=token,
            token_state=view.token_state,
            token_expires_at=view.token_expires_at,
        )

    async def _find(self, conn: Conn, call: ApiCall) -> ConnectionView:
        return await connection_requests.find_connection(
            conn, call.path.waba_id, organization_id=call.authenticated.organization_id
        )


async def find_proven(conn: Conn, call: ApiCall) -> ConnectionView:
    """Return the connection that the request names, locked, if its owner has proven it. Raise
    Missing or NotAllowed."""
    return await connection_requests.find_proven(
        conn, call.path.waba_id, organization_id=call.authenticated.organization_id
    )


def connection_answer(view: ConnectionView) -> ConnectionAnswer:
    return ConnectionAnswer(
        waba_id=view.waba_id,
        organization_id=view.organization_id,
        attribution=view.attribution,
        state=view.state,
        reason=view.why,
        remedy=remedy_answer(view.remedy),
        next_attempt_at=view.goes_on_at,
        token_state=view.token_state,
        token_expires_at=view.token_expires_at,
        token_checked_at=view.token_checked_at,
        owner_business_id=view.owner_business_id,
        owned_since=view.owned_since,
        is_coexistence=view.is_coexistence,
        left_behind=list(view.left_behind),
    )
