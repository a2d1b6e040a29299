"""What the company requests of a connection's number: set its PIN, register it too."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from services.console.api.connections import (
    ACCEPTED,
    CONNECTION_PATH,
    AcceptedAnswer,
    accepted,
    find_proven,
)
from services.console.api.fields import NumberPath
from services.console.follow_up_nudges import FollowUpNudges
from services.console.http.endpoints import ApiCall, Endpoint, Model, OnBehalfOf
from shared.actions import connection_requests
from shared.actions.errors import UseCaseError
from shared.actions.number_states import standing
from shared.crypto import KeyRing
from shared.store.audit import Requester
from shared.store.pool import Pool, now, transaction

NUMBER_PATH = CONNECTION_PATH + "/numbers/{phone_number_id}"


Pin = Annotated[str, Field(pattern=r"^[0-9]{6}$", examples=["123456"])]


class PinBody(Model):
    pin: Pin
    on_behalf_of: OnBehalfOf | None = None


class CustomerPinBody(Model):
    """What the page sends: the PIN, and the digits of the number it was asked for."""

    pin: Pin
    digits: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")] | None = None


class NumbersApi:
    def __init__(self, pool: Pool, ring: KeyRing, nudges: FollowUpNudges) -> None:
        self._pool = pool
        self._ring = ring
        self._nudges = nudges

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "POST", f"{NUMBER_PATH}/pin", "setPin",
                "The two-step verification PIN a number has",
                "It is kept encrypted, and the number is registered with it. A wrong one is told"
                " as `pin_wrong`; after three in 72 hours, or while Meta would refuse, none is"
                " taken.",
                self.set_pin, ACCEPTED, refuses=(403, 404, 409), path_model=NumberPath,
                body=PinBody,
            ),
            Endpoint(
                "POST", f"{NUMBER_PATH}/register", "registerNumber",
                "Register a number that the login did not name",
                "It takes the number from wherever it is registered, and sets its PIN.",
                self.register, ACCEPTED, refuses=(403, 404, 409), path_model=NumberPath,
            ),
        )  # fmt: skip

    async def register(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            view = await find_proven(conn, call)
            await connection_requests.request_registration(
                conn, view, call.path.phone_number_id, call.authenticated.requester()
            )
        return await accepted(self._nudges)

    async def set_pin(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        async with transaction(self._pool) as conn:
            view = await find_proven(conn, call)
            await connection_requests.set_pin(
                conn,
                self._ring,
                view,
                call.path.phone_number_id,
                call.body.pin,
                call.authenticated.requester(on_behalf_of=call.body.on_behalf_of),
            )
        return await accepted(self._nudges)

    async def set_customer_pin(
        self,
        waba_id: str,
        organization_id: str,
        pin: str,
        requester: Requester,
        *,
        digits: str | None,
    ) -> None:
        """Set the customer's PIN of the number with these digits; None: of the first one. It must
        be one that waits for a PIN.

        Do nothing if there is none, or if the organization has not proved the connection.
        """
        async with transaction(self._pool) as conn:
            try:
                view = await connection_requests.find_proven(
                    conn, waba_id, organization_id=organization_id
                )
            except UseCaseError:
                return
            at = await now(conn)
            waiting = [
                each.number.phone_number_id
                for each in await standing(conn, waba_id)
                if each.waits_for_pin
                and each.number.pin_refused_until(at) is None
                and digits in (None, each.number.digits)
            ]
            if waiting:
                await connection_requests.set_pin(
                    conn, self._ring, view, waiting[0], pin, requester
                )
        await self._nudges.send()
