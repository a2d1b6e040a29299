"""What the organization and the browser do to an onboarding: start, session, code, cancel."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import structlog
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    stop_before_delay,
    wait_fixed,
)

from services.console.follow_up_nudges import FollowUpNudges
from shared.actions.connection_state import decide_again
from shared.actions.errors import Missing, WrongState
from shared.actions.onboarding_proof import request_proof
from shared.cache import Cache
from shared.crypto import KeyRing
from shared.domain.graph_errors import GraphError, MetaRefused, MetaUnavailable
from shared.domain.proof import FINISHES
from shared.domain.remedies import Reason
from shared.domain.splitting import as_id
from shared.graph.answers import Token
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.connections import follow_ups, onboardings, organizations
from shared.store.connections import login_codes as codes
from shared.store.connections.onboardings import CANCEL, ERROR, NewOnboarding, Onboarding
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

#: Meta's code is valid for 30 s after Meta makes it (Embedded Signup, Implementation, Mar 2026).
EXCHANGE_SECONDS = 25.0
PAUSE_SECONDS = 0.5
#: How long storing a token is retried while PostgreSQL is unreachable.
MAX_SAVE_SECONDS = 20.0


class Onboardings:
    """Change and find onboardings. Every method may be repeated: it then returns the onboarding as
    it is now. Methods raise Missing or
    WrongState."""

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
        """Return the onboarding, and whether it is new.

        If the organization used `idempotency_key` before, return the onboarding it started then.
        """
        code = onboardings.new_tracking_code()
        expires_at = datetime.now(UTC) + lifetime
        new_onboarding = NewOnboarding(
            organization_id, code, expires_at, flow, is_coexistence, redirect_uri, idempotency_key
        )
        async with transaction(self._pool) as conn:
            await organizations.add(conn, organization_id)
            is_new = await onboardings.start(conn, new_onboarding) is not None
            if is_new or idempotency_key is None:
                onboarding = await onboardings.find(conn, code, organization_id=organization_id)
            else:
                onboarding = await onboardings.find_by_idempotency_key(
                    conn, organization_id, idempotency_key
                )
        # Either it was just started, or the key belongs to it.
        assert onboarding is not None
        stored_request = (onboarding.flow, onboarding.is_coexistence, onboarding.redirect_uri)
        if stored_request != (flow, is_coexistence, redirect_uri):
            raise WrongState(
                "idempotency_key_reused", "This Idempotency-Key was used for another request."
            )
        return onboarding, is_new

    async def find(self, tracking_code: str, organization_id: str | None) -> Onboarding:
        """Return the organization's onboarding (None: any organization's).

        If the cache says that it belongs to another organization, PostgreSQL is not asked again.
        """

        async def load() -> str | None:
            async with transaction(self._pool) as conn:
                onboarding = await onboardings.find(conn, tracking_code, organization_id=None)
            return None if onboarding is None else onboarding.organization_id

        owner = await self._cache.get("onboarding", tracking_code, load)
        if owner is not None and organization_id in (None, owner):
            async with transaction(self._pool) as conn:
                onboarding = await onboardings.find(
                    conn, tracking_code, organization_id=organization_id
                )
            if onboarding is not None:
                return onboarding
        raise Missing("no_such_onboarding", "There is no such onboarding.")

    async def record_session(
        self, onboarding: Onboarding, event: str, data: dict[str, Any]
    ) -> Onboarding:
        """Store what Meta's dialog reported to the browser, before or after the code."""
        is_finish = event in FINISHES
        if not is_finish:
            event = ERROR if _is_error(event, data) else CANCEL
        async with transaction(self._pool) as conn:
            session = await onboardings.save_session(
                conn,
                onboarding.tracking_code,
                event=event,
                session_waba_id=_session_waba_id(data) if is_finish else None,
            )
            if session and is_finish and (named := _session_waba_id(data)):
                await decide_again(conn, [named], [])
            if session and session.has_token and is_finish:
                await request_proof(conn, onboarding)
            elif session and session.is_new_failure:
                reason = "error_reported" if event == ERROR else "cancelled"
                await events.add_for_onboarding(
                    conn, "cancelled", onboarding, waba_id=None, reason=reason
                )
        _refuse_ended(onboarding)
        await self._nudges.send()
        return await self.find(onboarding.tracking_code, onboarding.organization_id)

    async def exchange_code(
        self, onboarding: Onboarding, code: str, redirect_uri: str | None = None
    ) -> Onboarding:
        """Exchange a new code at once, and store its token before anything else.

        `redirect_uri` is the dialog's, if it is not the redirect flow's own. A popup has none.
        """
        digest = sha256(code.encode()).digest()
        async with transaction(self._pool) as conn:
            is_new = await codes.start_exchange(conn, onboarding.tracking_code, digest)
        if is_new:
            crash_point("code.exchange_begun")
            if redirect_uri is None and onboarding.flow == "redirect":
                redirect_uri = onboarding.redirect_uri
            await self._exchange(onboarding, code, digest, redirect_uri)
        current = await self.find(onboarding.tracking_code, onboarding.organization_id)
        if current.has_token:
            if not is_new:  # its proof may be blocked: request it again
                async with transaction(self._pool) as conn:
                    await request_proof(conn, current)
                current = await self.find(onboarding.tracking_code, onboarding.organization_id)
            await self._nudges.send()
        elif not is_new and current.code_hash != digest:
            _refuse_ended(current)
            raise WrongState(
                "code_not_wanted",
                "No code is wanted now: it was used elsewhere, another is under way, or this"
                " onboarding is completed.",
            )
        return current

    async def cancel(self, onboarding: Onboarding) -> Onboarding:
        """Cancel the onboarding, close its proof follow-up and store an event.

        Change nothing if it is not open or already proven.
        """
        async with transaction(self._pool) as conn:
            if await onboardings.cancel(conn, onboarding.tracking_code, onboarding.organization_id):
                await follow_ups.close(conn, ["prove"], onboarding.tracking_code)
                if onboarding.session_waba_id is not None:
                    await decide_again(conn, [onboarding.session_waba_id], [])
                await events.add_for_onboarding(
                    conn, "cancelled", onboarding, waba_id=None, reason="link_closed"
                )
        return await self.find(onboarding.tracking_code, onboarding.organization_id)

    async def _exchange(
        self, onboarding: Onboarding, code: str, digest: bytes, redirect_uri: str | None
    ) -> None:
        """Exchange the code and store its token, or record why Meta gave none."""
        try:
            token = await self._exchange_while_valid(code, redirect_uri)
        except GraphError as error:
            is_lost = isinstance(error, MetaUnavailable) or error.policy == "wait"
            reason: Reason = "code_lost" if is_lost else "code_refused"
            log.warning("code.not_exchanged", onboarding_id=onboarding.id, reason=reason)
            async with transaction(self._pool) as conn:
                await codes.fail_exchange(conn, onboarding, digest, reason)
            return
        crash_point("code.exchanged")
        await until_saved()(self._save_token, onboarding, digest, token)

    async def _save_token(self, onboarding: Onboarding, digest: bytes, token: Token) -> None:
        """Store the token and request its proof."""
        async with transaction(self._pool) as conn:
            is_saved = await codes.save_token(
                conn,
                self._ring,
                onboarding,
                token.text,
                code_hash=digest,
                expires_at=token.expires_at,
            )
            if is_saved:
                await follow_ups.add(conn, "prove", [onboarding.tracking_code])
        crash_point("token.stored")

    async def _exchange_while_valid(self, code: str, redirect_uri: str | None) -> Token:
        """Exchange the code while it is valid. Raises GraphError.

        Retry when Meta does not answer: the code may still be unspent.
        """
        is_perhaps_spent = False

        async def exchange() -> Token:
            nonlocal is_perhaps_spent
            try:
                return await self._graph.exchange_code(code, redirect_uri)
            except MetaUnavailable:
                is_perhaps_spent = True
                raise

        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                return await until_meta_answers()(exchange)
        except MetaRefused:
            if is_perhaps_spent:  # by an earlier attempt whose answer was lost
                raise MetaUnavailable("meta_unavailable") from None
            raise
        except TimeoutError:
            raise MetaUnavailable("meta_unavailable") from None


def until_saved() -> AsyncRetrying:
    """Return the policy for storing a token. Its code is spent: without a retry, a short failure of
    the database would cost the customer a new login."""
    return AsyncRetrying(
        retry=retry_if_exception(is_infrastructure),
        wait=wait_fixed(PAUSE_SECONDS),
        stop=stop_after_delay(MAX_SAVE_SECONDS),
        reraise=True,
    )


def until_meta_answers() -> AsyncRetrying:
    """Return the policy for a code that Meta did not answer for, while the customer waits."""
    return AsyncRetrying(
        retry=retry_if_exception_type(MetaUnavailable),
        wait=wait_fixed(PAUSE_SECONDS),
        stop=stop_before_delay(EXCHANGE_SECONDS),
        reraise=True,
    )


def _refuse_ended(onboarding: Onboarding) -> None:
    """Raise WrongState if the onboarding is expired or cancelled."""
    if onboarding.state in ("expired", "cancelled"):
        raise WrongState(
            f"onboarding_{onboarding.state}", f"This onboarding is {onboarding.state}."
        )


def _session_waba_id(data: dict[str, Any]) -> str | None:
    """Return the WABA the browser named. None if it named several: the token must prove which."""
    if (waba_id := as_id(data.get("waba_id"))) is not None:
        return waba_id
    waba_ids = data.get("waba_ids")
    return as_id(waba_ids[0]) if isinstance(waba_ids, list) and len(waba_ids) == 1 else None


def _is_error(event: str, data: dict[str, Any]) -> bool:
    """Return whether the dialog reported an error.

    Meta reports errors under CANCEL too (Embedded Signup, Errors, Feb 2026).
    """
    return event == ERROR or "error_code" in data or "error_message" in data
