"""Exchange the code of Meta's dialog for a token, while it is valid."""

import asyncio

import structlog
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    stop_before_delay,
    wait_fixed,
)

from shared.crypto import KeyRing
from shared.domain.graph_errors import GraphError, MetaRefused, MetaUnavailable
from shared.domain.remedies import Reason
from shared.graph.answers import Token
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.connections import follow_ups
from shared.store.connections import login_codes as codes
from shared.store.connections.onboardings import Onboarding
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

#: Meta's code is valid for 30 s after Meta makes it (Embedded Signup, Implementation, Mar 2026).
EXCHANGE_SECONDS = 25.0
PAUSE_SECONDS = 0.5
#: How long storing a token is retried while PostgreSQL is unreachable.
MAX_SAVE_SECONDS = 20.0


class CodeExchange:
    def __init__(self, pool: Pool, ring: KeyRing, graph: Graph) -> None:
        self._pool = pool
        self._ring = ring
        self._graph = graph

    async def exchange(
        self, onboarding: Onboarding, code: str, digest: bytes, redirect_uri: str | None
    ) -> None:
        """Exchange the code and store its token, or record why Meta gave none."""
        try:
            token = await self._exchange_while_valid(onboarding, code, redirect_uri)
        except GraphError as error:
            reason = _reason(error)
            log.warning("code.not_exchanged", onboarding_id=onboarding.id, reason=reason)
            async with transaction(self._pool) as conn:
                if await codes.fail_exchange(conn, onboarding, digest, reason):
                    await events.add_for_onboarding(
                        conn, "refused", onboarding, waba_id=None, reason=reason
                    )
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
                await follow_ups.add(conn, "prove", [str(onboarding.id)])
        crash_point("token.stored")

    async def _exchange_while_valid(
        self, onboarding: Onboarding, code: str, redirect_uri: str | None
    ) -> Token:
        """Exchange the code while it is valid. Raises GraphError.

        Retry when Meta does not answer: the code may still be unspent.
        """
        is_perhaps_spent = False

        async def exchange() -> Token:
            nonlocal is_perhaps_spent
            try:
                return await self._graph.exchange_code(
                    code, redirect_uri, subject=str(onboarding.id)
                )
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


def _reason(error: GraphError) -> Reason:
    if error.reason == "redirect_uri_differs":
        return error.reason
    is_lost = isinstance(error, MetaUnavailable) or error.policy == "wait"
    return "code_lost" if is_lost else "code_refused"


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
