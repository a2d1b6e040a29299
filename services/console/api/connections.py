"""The connections API: read the status of connections, provision and disconnect them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.console.api.onboarding import OrganizationId, RemedyAnswer, remedy_answer
from services.console.follow_up_nudges import FollowUpNudges
from services.console.http.endpoints import ApiCall, Endpoint, Model
from shared.actions import connection_requests, disconnection
from shared.actions.errors import UseCaseError
from shared.crypto import KeyRing
from shared.domain.facts import State
from shared.store.connections import follow_ups, numbers, tokens, views
from shared.store.connections.tokens import TokenState
from shared.store.connections.views import ConnectionView
from shared.store.pool import Conn, Pool, transaction

BASE = "/api/v1/whatsapp/connections"
CONNECTION_PATH = BASE + "/{waba_id}"
MAX_LISTED = 100

MetaId = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
#: The last WABA of the previous page; empty for the first page.
After = Annotated[str, Field(pattern=r"^[0-9]{0,20}$")]


class WabaPath(Model):
    waba_id: MetaId


class NumberPath(WabaPath):
    phone_number_id: MetaId


class ListQuery(Model):
    organization_id: OrganizationId | None = None
    state: State | None = None
    after: After = ""
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = MAX_LISTED


class PinBody(Model):
    pin: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class DisconnectBody(Model):
    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,500}$")]


class ConnectionAnswer(BaseModel):
    """`reason` says what keeps it from being active, `next_attempt_at` when it goes on by itself;
    `left_behind` what stays at Meta."""

    waba_id: str
    organization_id: str | None
    attribution: str
    state: State
    reason: str | None
    remedy: RemedyAnswer | None
    next_attempt_at: datetime | None
    token_state: TokenState
    token_expires_at: datetime | None
    token_checked_at: datetime | None
    owner_business_id: str | None
    owned_since: datetime | None
    is_coexistence: bool
    left_behind: list[str]


class NumberAnswer(BaseModel):
    phone_number_id: str
    digits: str
    is_coexistence: bool
    is_registered: bool


class ConnectionsAnswer(BaseModel):
    """What follows: the same request with `after` the last WABA."""

    connections: list[ConnectionAnswer]


class OneAnswer(ConnectionAnswer):
    numbers: list[NumberAnswer]


class AcceptedAnswer(BaseModel):
    """It is under way; the connection tells how it goes."""

    status: Literal["accepted"] = "accepted"


class ConnectionsApi:
    def __init__(self, pool: Pool, ring: KeyRing, nudges: FollowUpNudges) -> None:
        self._pool = pool
        self._ring = ring
        self._nudges = nudges

    def endpoints(self) -> Sequence[Endpoint]:
        accepted = {202: AcceptedAnswer}
        return (
            Endpoint(
                "GET", BASE, "listConnections", "Connections that have an owner", self.list,
                {200: ConnectionsAnswer}, refuses=(403,), query=ListQuery,
            ),
            Endpoint(
                "GET", CONNECTION_PATH, "getConnection", "One connection, with its numbers",
                self.show, {200: OneAnswer}, refuses=(404,), path_model=WabaPath,
            ),
            Endpoint(
                "POST", f"{CONNECTION_PATH}/provision", "provisionConnection",
                "Try to bring it to work once more", self.provision, accepted,
                refuses=(403, 404, 409), path_model=WabaPath,
            ),
            Endpoint(
                "POST", CONNECTION_PATH + "/numbers/{phone_number_id}/pin", "setPin",
                "The two-step verification PIN a number has", self.set_pin, accepted,
                refuses=(403, 404), path_model=NumberPath, body=PinBody,
            ),
            Endpoint(
                "POST", f"{CONNECTION_PATH}/disconnect", "disconnectConnection",
                "Disconnect from our side: deregister, unsubscribe, forget the token",
                self.disconnect, accepted, refuses=(403, 404), path_model=WabaPath,
                body=DisconnectBody,
            ),
        )  # fmt: skip

    async def list(self, call: ApiCall) -> tuple[int, ConnectionsAnswer]:
        query: ListQuery = call.query
        async with transaction(self._pool) as conn:
            page = await views.connections(
                conn,
                organization_id=call.authenticated.scope(query.organization_id),
                state=query.state,
                after=query.after,
                limit=query.limit,
            )
        return 200, ConnectionsAnswer(connections=[connection_answer(view) for view in page])

    async def show(self, call: ApiCall) -> tuple[int, OneAnswer]:
        async with transaction(self._pool) as conn:
            view = await self._find(conn, call)
            # A provisional owner sees the connection's state, but nothing inside it.
            shown = [] if view.is_provisional else await numbers.current(conn, view.waba_id)
        number_answers = [
            NumberAnswer(
                phone_number_id=number.phone_number_id,
                digits=number.digits,
                is_coexistence=number.is_coexistence,
                is_registered=number.is_registered,
            )
            for number in shown
        ]
        return 200, OneAnswer(**connection_answer(view).model_dump(), numbers=number_answers)

    async def provision(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            view = await self._find_proven(conn, call)
            await connection_requests.request_provisioning(conn, view)
        return await self._accepted()

    async def set_pin(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            view = await self._find_proven(conn, call)
            await connection_requests.set_pin(
                conn, self._ring, view, call.path.phone_number_id, call.body.pin
            )
        return await self._accepted()

    async def set_customer_pin(self, waba_id: str, organization_id: str, pin: str) -> None:
        """Set the customer's PIN for all of the connection's numbers that are not registered.

        Do nothing if the organization has not proved the connection.
        """
        async with transaction(self._pool) as conn:
            try:
                await connection_requests.find_proven(
                    conn, waba_id, organization_id=organization_id
                )
            except UseCaseError:
                return
            for number in await numbers.current(conn, waba_id):
                if not number.is_registered:
                    await tokens.set_pin(conn, self._ring, waba_id, number.phone_number_id, pin)
            await follow_ups.add(conn, "provision", [waba_id])
        await self._nudges.send()

    async def disconnect(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            await disconnection.request(
                conn,
                call.path.waba_id,
                organization_id=call.authenticated.organization_id,
                actor=call.authenticated.actor,
                reason=call.body.reason,
            )
        return await self._accepted()

    async def _accepted(self) -> tuple[int, AcceptedAnswer]:
        """Nudge the processor and return 202. Call after the commit."""
        await self._nudges.send()
        return 202, AcceptedAnswer()

    async def _find(self, conn: Conn, call: ApiCall) -> ConnectionView:
        return await connection_requests.find_connection(
            conn, call.path.waba_id, organization_id=call.authenticated.organization_id
        )

    async def _find_proven(self, conn: Conn, call: ApiCall) -> ConnectionView:
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
