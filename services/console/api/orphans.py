"""The orphans API: WABAs without an owner. Only the company may use it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from services.console.api.connections import AcceptedAnswer
from services.console.api.fields import OrganizationId, WabaPath
from services.console.api.lists import PageAnswer, PageQuery, page_of
from services.console.follow_up_nudges import FollowUpNudges
from services.console.http.endpoints import (
    ApiCall,
    AuditReason,
    Caller,
    Endpoint,
    Model,
    OnBehalfOf,
)
from services.console.http.problems import Problem
from shared.actions import ownership
from shared.cache import Cache
from shared.domain.facts import State
from shared.store.connections import views
from shared.store.pool import Pool, transaction

BASE = "/api/v1/whatsapp/orphans"


class ClaimBody(Model):
    """`on_behalf_of` is who decided, `reason` why: both go into the audit log, beside the key.

    `actor` is the former name of `on_behalf_of`.
    """

    organization_id: OrganizationId
    on_behalf_of: OnBehalfOf | None = None
    actor: Annotated[OnBehalfOf | None, Field(json_schema_extra={"deprecated": True})] = None
    reason: AuditReason


class OrphanAnswer(BaseModel):
    """`candidates` own its business; `waiting_changes` is counted to 1,000."""

    waba_id: str
    state: State
    attribution: str
    owner_business_id: str | None
    since: datetime
    waiting_changes: int
    candidates: list[str]


class OrphansAnswer(PageAnswer):
    orphans: list[OrphanAnswer]


class OrphansApi:
    def __init__(self, pool: Pool, cache: Cache, nudges: FollowUpNudges) -> None:
        self._pool = pool
        self._cache = cache
        self._nudges = nudges

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "GET", BASE, "listOrphans", "WABAs that nobody owns, with what is known of them",
                "They are shared with us, and no organization proved one. Only with the company's"
                " key.",
                self.list, {200: OrphansAnswer}, refuses=(403,), query=PageQuery,
            ),
            Endpoint(
                "POST", BASE + "/{waba_id}/claim", "claimOrphan", "Give one to an organization",
                "Changes that came meanwhile are delivered to it. Only with the company's key.",
                self.claim, {202: AcceptedAnswer}, refuses=(403, 404, 409), path_model=WabaPath,
                body=ClaimBody,
            ),
        )  # fmt: skip

    async def list(self, call: ApiCall) -> tuple[int, OrphansAnswer]:
        _require_company(call.authenticated)
        query: PageQuery = call.query
        async with transaction(self._pool) as conn:
            found = await views.orphans(conn, after=query.after, limit=query.limit + 1)
        page, next_after = page_of(found, query.limit)
        return 200, OrphansAnswer(
            orphans=[
                OrphanAnswer(
                    waba_id=orphan.waba_id,
                    state=orphan.state,
                    attribution=orphan.attribution,
                    owner_business_id=orphan.owner_business_id,
                    since=orphan.since,
                    waiting_changes=orphan.waiting_changes,
                    candidates=list(orphan.candidates),
                )
                for orphan in page
            ],
            next_after=next_after,
        )

    async def claim(self, call: ApiCall) -> tuple[int, AcceptedAnswer]:
        _require_company(call.authenticated)
        body: ClaimBody = call.body
        async with transaction(self._pool) as conn:
            await ownership.claim(
                conn,
                call.path.waba_id,
                body.organization_id,
                call.authenticated.requester(body.reason, body.on_behalf_of or body.actor),
            )
        await self._cache.invalidate("waba", call.path.waba_id)
        await self._nudges.send()
        return 202, AcceptedAnswer()


def _require_company(caller: Caller) -> None:
    """Raise Problem for an organization's key."""
    if caller.organization_id is not None:
        raise Problem(
            403,
            "proof_needed",
            "An organization claims a WABA by proving it: start an onboarding and log in at Meta.",
        )
