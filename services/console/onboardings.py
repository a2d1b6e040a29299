"""An onboarding's life as its browser and its organization drive it: start, session, code."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import structlog

from services.console.follow_up_nudges import FollowUpNudges
from services.console.http.endpoints import Problem
from shared.actions.onboarding_proof import request_proof
from shared.cache import Cache
from shared.crypto import KeyRing
from shared.domain.graph_errors import GraphError, MetaRefused, MetaUnavailable
from shared.domain.proof import FINISHES
from shared.domain.splitting import as_id
from shared.graph.answers import Token
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.connections import codes, follow_ups, onboardings, organizations
from shared.store.connections.onboardings import CANCEL, ERROR, NewOnboarding, Onboarding
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

#: Meta's code lives 30 s from its making (Embedded Signup, Implementation, Mar 2026).
EXCHANGE_SECONDS = 25.0
PAUSE_SECONDS = 0.5
#: How long a token is held in hand while PostgreSQL is away.
MAX_SAVE_SECONDS = 20.0


class Onboardings:
    """Idempotent: whoever asks again is told how it stands. Methods raise Problem."""

    def __init__(
        self, pool: Pool, ring: KeyRing, graph: Graph, cache: Cache, nudges: FollowUpNudges
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._graph = graph
        self._cache = cache
        self._nudges = nudges

    async def start(
        self,
        organization_id: str,
        *,
        flow: Literal["popup", "redirect"],
        is_coexistence: bool,
        redirect_uri: str | None,
        lifetime: timedelta,
        idempotency_key: str | None,
    ) -> tuple[Onboarding, bool]:
        """The onboarding, and whether it is new: under a known key it is the one of before."""
        code = secrets.token_urlsafe(18)
        expires_at = datetime.now(UTC) + lifetime
        one = NewOnboarding(
            organization_id, code, expires_at, flow, is_coexistence, redirect_uri, idempotency_key
        )
        async with transaction(self._pool) as conn:
            await organizations.add(conn, organization_id)
            is_new = await onboardings.start(conn, one) is not None
            if is_new or idempotency_key is None:
                found = await onboardings.find(conn, code, organization_id=organization_id)
            else:
                found = await onboardings.started_as(conn, organization_id, idempotency_key)
        assert found is not None  # noqa: S101 - it was just started, or its key was taken by it
        asked = (flow, is_coexistence, redirect_uri)
        if (found.flow, found.is_coexistence, found.redirect_uri) != asked:
            raise Problem(
                409, "idempotency_key_reused", "This Idempotency-Key was used for another request."
            )
        return found, is_new

    async def find(self, tracking_code: str, organization_id: str | None) -> Onboarding:
        """The organization's onboarding. What is certainly another's is not even looked up."""

        async def load() -> str | None:
            async with transaction(self._pool) as conn:
                found = await onboardings.find(conn, tracking_code, organization_id=None)
            return None if found is None else found.organization_id

        owner = await self._cache.get("onboarding", tracking_code, load)
        if owner is not None and organization_id in (None, owner):
            async with transaction(self._pool) as conn:
                found = await onboardings.find(conn, tracking_code, organization_id=organization_id)
            if found is not None:
                return found
        raise Problem(404, "no_such_onboarding", "There is no such onboarding.")

    async def take_session(self, one: Onboarding, event: str, data: dict[str, Any]) -> Onboarding:
        """What Meta's dialog told the browser, before or after the code."""
        is_finish = event in FINISHES
        if not is_finish:
            event = ERROR if _is_error(event, data) else CANCEL
        async with transaction(self._pool) as conn:
            heard = await onboardings.save_session(
                conn,
                one.tracking_code,
                event=event,
                session_waba_id=_claimed(data) if is_finish else None,
            )
            if heard and heard.has_token and is_finish:
                await request_proof(conn, one)
            elif heard and heard.is_news:
                reason = "error_reported" if event == ERROR else "cancelled"
                await events.add_for_onboarding(conn, "cancelled", one, waba_id=None, reason=reason)
        _refuse_ended(one)
        await self._nudges.send()
        return await self.find(one.tracking_code, one.organization_id)

    async def take_code(
        self, one: Onboarding, code: str, redirect_uri: str | None = None
    ) -> Onboarding:
        """Exchange the code at once, if it is new, and keep its token before anything else.

        `redirect_uri`: the dialog's, where it is not the redirect flow's own; a popup has none.
        """
        digest = sha256(code.encode()).digest()
        async with transaction(self._pool) as conn:
            is_new = await codes.start_exchange(conn, one.tracking_code, digest)
        if is_new:
            crash_point("code.exchange_begun")
            if redirect_uri is None and one.flow == "redirect":
                redirect_uri = one.redirect_uri
            await self._exchange(one, code, digest, redirect_uri)
        now = await self.find(one.tracking_code, one.organization_id)
        if now.has_token:
            if not is_new:  # its proof may have got stuck
                async with transaction(self._pool) as conn:
                    await request_proof(conn, now)
                now = await self.find(one.tracking_code, one.organization_id)
            await self._nudges.send()
        elif not is_new and now.code_hash != digest:
            _refuse_ended(now)
            raise Problem(
                409,
                "code_not_wanted",
                "No code is wanted now: it was used elsewhere, another is under way, or this"
                " onboarding is completed.",
            )
        return now

    async def cancel(self, one: Onboarding) -> Onboarding:
        async with transaction(self._pool) as conn:
            if await onboardings.cancel(conn, one.tracking_code, one.organization_id):
                await follow_ups.close(conn, ["prove"], one.tracking_code)
                await events.add_for_onboarding(
                    conn, "cancelled", one, waba_id=None, reason="link_closed"
                )
        return await self.find(one.tracking_code, one.organization_id)

    async def _exchange(
        self, one: Onboarding, code: str, digest: bytes, redirect_uri: str | None
    ) -> None:
        try:
            token = await self._exchange_within_life(code, redirect_uri)
        except GraphError as error:
            is_lost = isinstance(error, MetaUnavailable) or error.policy == "wait"
            reason = "code_lost" if is_lost else "code_refused"
            log.warning("code.not_exchanged", onboarding_id=one.id, reason=reason)
            async with transaction(self._pool) as conn:
                await codes.fail_exchange(conn, one, digest, reason)
            return
        crash_point("code.exchanged")
        await self._save_token(one, digest, token)

    async def _save_token(self, one: Onboarding, digest: bytes, token: Token) -> None:
        """The code is spent: a database that stumbles must not cost the customer a new login."""
        loop = asyncio.get_running_loop()
        until = loop.time() + MAX_SAVE_SECONDS
        while True:
            try:
                async with transaction(self._pool) as conn:
                    is_kept = await codes.save_token(
                        conn,
                        self._ring,
                        one,
                        token.text,
                        code_hash=digest,
                        expires_at=token.expires_at,
                    )
                    if is_kept:
                        await follow_ups.add(conn, "prove", [one.tracking_code])
                crash_point("token.stored")
                return
            except Exception as error:
                if not is_infrastructure(error) or loop.time() > until:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def _exchange_within_life(self, code: str, redirect_uri: str | None) -> Token:
        """Within the code's life, as often as Meta does not answer: it may not have been spent."""
        loop = asyncio.get_running_loop()
        until = loop.time() + EXCHANGE_SECONDS
        is_perhaps_spent = False
        while True:
            try:
                async with asyncio.timeout_at(until):
                    return await self._graph.exchange_code(code, redirect_uri)
            except TimeoutError:
                raise MetaUnavailable("meta_unavailable") from None
            except MetaRefused:
                if is_perhaps_spent:  # by a try of ours whose answer never came
                    raise MetaUnavailable("meta_unavailable") from None
                raise
            except MetaUnavailable:
                is_perhaps_spent = True
                if loop.time() + PAUSE_SECONDS >= until:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)


def _refuse_ended(one: Onboarding) -> None:
    if one.state in ("expired", "cancelled"):
        raise Problem(409, f"onboarding_{one.state}", f"This onboarding is {one.state}.")


def _claimed(data: dict[str, Any]) -> str | None:
    """The WABA the browser names; of several the token must tell."""
    if (waba_id := as_id(data.get("waba_id"))) is not None:
        return waba_id
    several = data.get("waba_ids")
    return as_id(several[0]) if isinstance(several, list) and len(several) == 1 else None


def _is_error(event: str, data: dict[str, Any]) -> bool:
    """Meta reports errors under CANCEL too (Embedded Signup, Errors, Feb 2026)."""
    return event == ERROR or "error_code" in data or "error_message" in data
