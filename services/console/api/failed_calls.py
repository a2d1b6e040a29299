"""The calls to Meta about a connection or an onboarding that failed."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from services.console.api.connections import CONNECTION_PATH, find_proven
from services.console.api.fields import CodePath, WabaPath
from services.console.api.lists import MAX_LISTED, NextAfter, PageLimit
from services.console.api.onboarding import ONBOARDING_PATH
from services.console.http.endpoints import ApiCall, Endpoint, Model
from services.console.onboardings import Onboardings
from shared.store.connections import failed_calls
from shared.store.pool import Pool, transaction


class FailuresQuery(Model):
    after: (
        Annotated[
            UUID, Field(description="`next_after` of the page before; without it: the first page")
        ]
        | None
    ) = None
    limit: PageLimit = MAX_LISTED


class FailedCallAnswer(BaseModel):
    """`phone_number_id` None: the call was about the whole account. `code`, `subcode`: Meta's."""

    id: UUID
    at: datetime
    step: str
    phone_number_id: str | None
    reason: str
    code: int | None
    subcode: int | None


class FailedCallsAnswer(BaseModel):
    """The newest first."""

    next_after: NextAfter
    failed_calls: list[FailedCallAnswer]


class FailedCallsApi:
    def __init__(self, pool: Pool, onboardings: Onboardings) -> None:
        self._pool = pool
        self._onboardings = onboardings

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "GET", f"{CONNECTION_PATH}/failed-calls", "listFailedCalls",
                "Calls to Meta about it that failed",
                "Those of the last 30 days; while Meta is away, one an hour.",
                self.of_connection, {200: FailedCallsAnswer}, refuses=(403, 404),
                path_model=WabaPath, query=FailuresQuery,
            ),
            Endpoint(
                "GET", f"{ONBOARDING_PATH}/failed-calls", "listOnboardingFailedCalls",
                "Calls to Meta about its login that failed",
                "Those of the last 30 days, until the login was proven.",
                self.of_onboarding, {200: FailedCallsAnswer}, refuses=(404,),
                path_model=CodePath, query=FailuresQuery,
            ),
        )  # fmt: skip

    async def of_connection(self, call: ApiCall) -> tuple[int, FailedCallsAnswer]:
        async with transaction(self._pool) as conn:
            view = await find_proven(conn, call)
        # What failed for an organization that owned it before is none of this one's business.
        return await self._list(view.waba_id, call.query, since=view.owned_since)

    async def of_onboarding(self, call: ApiCall) -> tuple[int, FailedCallsAnswer]:
        onboarding = await self._onboardings.find(
            call.path.tracking_code, call.authenticated.organization_id
        )
        return await self._list(str(onboarding.id), call.query)

    async def _list(
        self, subject: str, query: FailuresQuery, *, since: datetime | None = None
    ) -> tuple[int, FailedCallsAnswer]:
        async with transaction(self._pool) as conn:
            failed = await failed_calls.latest(
                conn, subject, limit=query.limit + 1, before=query.after, since=since
            )
        page = failed[: query.limit]
        return 200, FailedCallsAnswer(
            next_after=str(page[-1].id) if len(failed) > len(page) else None,
            failed_calls=[
                FailedCallAnswer(
                    **{**asdict(each), "phone_number_id": each.phone_number_id or None}
                )
                for each in page
            ],
        )
