"""What the organization and the browser do to an onboarding: start, session, code, cancel."""

from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog

from services.console.code_exchange import CodeExchange
from services.console.follow_up_nudges import FollowUpNudges
from shared.actions.connection_state import decide_again
from shared.actions.errors import Missing, WrongState
from shared.cache import Cache
from shared.crypto import KeyRing
from shared.domain.dialog import CODE_MISSING, FINISHES, NO_RESULT, named_wabas, without_result
from shared.domain.splitting import as_id
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store import audit, events
from shared.store.audit import Requester
from shared.store.connections import (
    follow_ups,
    link_uses,
    onboardings,
    organizations,
    sessions,
    tracking_codes,
    waba_choices,
)
from shared.store.connections import login_codes as codes
from shared.store.connections.link_uses import Use
from shared.store.connections.onboardings import NewOnboarding, Onboarding
from shared.store.connections.waba_choices import WabaChoice
from shared.store.pool import Conn, Pool, now, transaction

log = structlog.get_logger()


class Onboardings:
    """Change and find onboardings. Every method may be repeated: it then returns the onboarding as
    it is now. Methods raise Missing or WrongState."""

    def __init__(
        self, pool: Pool, ring: KeyRing, graph: Graph, cache: Cache, nudges: FollowUpNudges
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._code_exchange = CodeExchange(pool, ring, graph)
        self._cache = cache
        self._nudges = nudges

    async def start(self, new: NewOnboarding, requester: Requester) -> tuple[Onboarding, bool]:
        """Return the onboarding, and whether it is new.

        If the organization used its idempotency key before, return the onboarding it started then.
        """
        async with transaction(self._pool) as conn:
            is_new_organization = await organizations.add(conn, new.organization_id)
            onboarding = await onboardings.start(conn, self._ring, new)
            is_new = onboarding is not None
            if onboarding is not None:
                await audit.add(
                    conn,
                    requester,
                    action="onboarding.start",
                    subject=f"{onboarding.id} for {new.organization_id}"
                    + (", a new organization" if is_new_organization else ""),
                )
            elif new.idempotency_key is not None:
                onboarding = await onboardings.find_by_idempotency_key(
                    conn, new.organization_id, new.idempotency_key
                )
        # Either it was just started, or the key belongs to it.
        assert onboarding is not None
        if _request(onboarding) != _request(new):
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

        key = tracking_codes.hash_code(tracking_code).hex()
        owner = await self._cache.get("onboarding", key, load)
        if owner is not None and organization_id in (None, owner):
            async with transaction(self._pool) as conn:
                onboarding = await onboardings.find(
                    conn, tracking_code, organization_id=organization_id
                )
            if onboarding is not None:
                return onboarding
        raise Missing("no_such_onboarding", "There is no such onboarding.")

    async def record_session(
        self, onboarding: Onboarding, event: str, data: dict[str, Any], requester: Requester
    ) -> Onboarding:
        """Store what Meta's dialog reported to the browser, before or after the code."""
        if event == CODE_MISSING:
            return await self._miss_code(onboarding, requester)
        is_finish = event in FINISHES
        named = named_wabas(data) if is_finish else []
        if not is_finish:
            event = without_result(event, data)
        async with transaction(self._pool) as conn:
            session = await sessions.save(
                conn,
                onboarding.id,
                event=event,
                waba_ids=named,
                phone_number_id=as_id(data.get("phone_number_id")) if is_finish else None,
            )
            if session:
                await _count(conn, onboarding, "messages")
            if session and session.is_changed:
                await _audit(conn, requester, "onboarding.session", onboarding)
            if session and named:
                await decide_again(conn, named, [])
            if session and session.has_token and is_finish:
                await codes.request_proof(conn, onboarding)
            elif session and session.is_new_failure:
                await events.add_for_onboarding(
                    conn, "cancelled", onboarding, waba_id=None, reason=NO_RESULT[event]
                )
        _refuse_ended(onboarding)
        await self._nudges.send()
        return await self.by_id(onboarding.id)

    async def _miss_code(self, onboarding: Onboarding, requester: Requester) -> Onboarding:
        async with transaction(self._pool) as conn:
            if await sessions.miss_code(conn, onboarding.id):
                await _count(conn, onboarding, "messages")
                await _audit(conn, requester, "onboarding.session", onboarding)
                await events.add_for_onboarding(
                    conn, "cancelled", onboarding, waba_id=None, reason="code_missing"
                )
        _refuse_ended(onboarding)
        return await self.by_id(onboarding.id)

    async def choose_waba(
        self, onboarding: Onboarding, waba_id: str, requester: Requester
    ) -> Onboarding:
        """Connect this one of the WABAs that the login is for."""
        async with transaction(self._pool) as conn:
            if await waba_choices.choose(conn, self._ring, onboarding.id, waba_id):
                await _count(conn, onboarding, "messages")
                subject = f"{onboarding.id}, WABA {waba_id}"
                await audit.add(conn, requester, action="onboarding.choose_waba", subject=subject)
                await decide_again(conn, [waba_id], [])
                await codes.request_proof(conn, onboarding)
            elif waba_id not in (onboarding.session_waba_id, onboarding.waba_id):
                _refuse_ended(onboarding)
                raise WrongState("no_such_choice", "This WABA is not one to choose now.")
        await self._nudges.send()
        return await self.by_id(onboarding.id)

    async def choices(self, onboarding: Onboarding) -> list[WabaChoice]:
        """Return the WABAs that the customer must choose from; none if there is no choice now."""
        if onboarding.reason != "waba_choice_needed":
            return []
        async with transaction(self._pool) as conn:
            return await waba_choices.read(conn, self._ring, onboarding.id)

    async def exchange_code(
        self,
        onboarding: Onboarding,
        code: str,
        requester: Requester,
        *,
        redirect_uri: str | None,
    ) -> Onboarding:
        """Exchange a new code at once, and store its token before anything else.

        `redirect_uri` is what the dialog was opened with. A popup has none.
        """
        digest = sha256(code.encode()).digest()
        async with transaction(self._pool) as conn:
            is_new = await codes.start_exchange(conn, onboarding.id, digest)
            if is_new:
                await _count(conn, onboarding, "codes")
                await _audit(conn, requester, "onboarding.code", onboarding)
        if is_new:
            crash_point("code.exchange_begun")
            await self._code_exchange.exchange(onboarding, code, digest, redirect_uri)
        current = await self.by_id(onboarding.id)
        if current.has_token and (current.code_hash == digest or current.reason is not None):
            if not is_new and current.reason is not None:  # its proof is blocked: try it again
                async with transaction(self._pool) as conn:
                    await _count(conn, current, "codes")
                    await _audit(conn, requester, "onboarding.retry", onboarding)
                    await codes.request_proof(conn, current)
                current = await self.by_id(onboarding.id)
            await self._nudges.send()
        elif not is_new and current.code_hash != digest:
            _refuse_ended(current)
            raise WrongState(
                "code_not_wanted",
                "No code is wanted now: it was used elsewhere, another is under way, or this"
                " onboarding is completed.",
            )
        return current

    async def count_pin(self, onboarding: Onboarding) -> None:
        """Count a PIN that was sent by the onboarding's link."""
        async with transaction(self._pool) as conn:
            await _count(conn, onboarding, "pins")

    async def cancel(self, onboarding: Onboarding, requester: Requester) -> Onboarding:
        """Cancel the onboarding, close its proof follow-up and store an event.

        Change nothing if it is not open or already proven.
        """
        async with transaction(self._pool) as conn:
            if await onboardings.cancel(conn, onboarding.id):
                await _audit(conn, requester, "onboarding.cancel", onboarding)
                # The version before asked for the proof under the code.
                for asked_for in (str(onboarding.id), self.code_of(onboarding)):
                    await follow_ups.close(conn, ["prove"], asked_for)
                named = [onboarding.session_waba_id, *(onboarding.session_waba_ids or ())]
                await decide_again(conn, list(filter(None, named)), [])
                await events.add_for_onboarding(
                    conn, "cancelled", onboarding, waba_id=None, reason="link_closed"
                )
        return await self.by_id(onboarding.id)

    def code_of(self, onboarding: Onboarding) -> str:
        """Return the tracking code. May raise Undecryptable."""
        return tracking_codes.open_code(self._ring, onboarding.id, onboarding.stored_code)

    async def by_id(self, onboarding_id: UUID) -> Onboarding:
        async with transaction(self._pool) as conn:
            onboarding = await onboardings.by_id(conn, onboarding_id)
        if onboarding is None:
            raise Missing("no_such_onboarding", "There is no such onboarding.")
        return onboarding


def _request(onboarding: Onboarding | NewOnboarding) -> tuple[object, ...]:
    """Return what a repeated start must have asked for too."""
    return (
        onboarding.flow,
        onboarding.is_coexistence,
        onboarding.redirect_uri,
        onboarding.return_url,
    )


async def _audit(conn: Conn, requester: Requester, action: str, onboarding: Onboarding) -> None:
    await audit.add(conn, requester, action=action, subject=str(onboarding.id))


async def _count(conn: Conn, onboarding: Onboarding, use: Use) -> None:
    """Count what was sent by the onboarding's link. Raise WrongState if there were too many, or if
    the link's life is over."""
    if not await link_uses.count(conn, onboarding.id, use):
        _refuse_ended(onboarding)
        if onboarding.expires_at <= await now(conn):
            raise WrongState("onboarding_expired", "This onboarding's link has expired.")
        raise WrongState(
            "too_many_tries",
            f"This onboarding had its {link_uses.MOST[use]} {use}: start another.",
        )


def _refuse_ended(onboarding: Onboarding) -> None:
    """Raise WrongState if the onboarding is expired or cancelled."""
    if onboarding.state in ("expired", "cancelled"):
        raise WrongState(
            f"onboarding_{onboarding.state}", f"This onboarding is {onboarding.state}."
        )
