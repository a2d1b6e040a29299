"""The Graph API calls that we use. Nothing else calls Meta."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from shared.domain.graph_errors import (
    LOCKED,
    CustomerMustAct,
    GraphError,
    MetaRefused,
    MetaUnavailable,
    RegisterUnanswered,
)
from shared.domain.json_object import Json
from shared.domain.numbers import PhoneNumber
from shared.domain.proof import TokenReport
from shared.domain.provisioning import StepName
from shared.graph import answers
from shared.graph.answers import NumberReading, Token, Waba
from shared.graph.metrics import GraphMetrics
from shared.graph.transport import GraphCall, KeepFailure, Method, T, Transport, open_session
from shared.graph.usage import MAX_PERCENT, AppUsage
from shared.settings.groups import GraphSettings

_NUMBER_FIELDS = (
    "id,display_phone_number,platform_type,status,is_on_biz_app,code_verification_status"
)
#: What a check reads of a number beside that.
_READING_FIELDS = f"{_NUMBER_FIELDS},quality_rating,name_status,messaging_limit_tier"
#: How much of the app's limit a call may use that can wait: onboardings have the rest.
SPARE_PERCENT = 50.0
_PAGE_SIZE = "100"
#: Pages of a WABA's numbers that are read. Meta's own limit of numbers is far lower (Business phone
#: numbers page, 2026).
MAX_PAGES = 20
#: Deadline for all pages together.
LIST_SECONDS = 20.0
_SYNC_TYPES: dict[StepName, str] = {
    "sync_contacts": "smb_app_state_sync",
    "sync_history": "history",
}


class Graph:
    """Calls to Meta. Each may raise GraphError. A call that changes something is safe to repeat
    unless its docstring says otherwise. `token` is the customer's. `subject` is what a failure is
    kept under: the onboarding or, with a `waba_id`, the WABA."""

    def __init__(
        self,
        transport: Transport,
        *,
        app_id: str,
        app_secret: str,
        app_token: str,
        system_token: str | None,
    ) -> None:
        self._transport = transport
        self.app_id = app_id
        self._app_secret = app_secret
        self._app_token = app_token
        self._system_token = system_token
        self._spare = asyncio.Lock()

    async def exchange_code(self, code: str, redirect_uri: str | None, *, subject: str) -> Token:
        """Exchange a code for a token.

        A code lives 30 s, and the first exchange spends it (Embedded Signup, Implementation).
        `redirect_uri` must be exactly what the dialog was given; None for the popup.
        """
        query = {"client_id": self.app_id, "client_secret": self._app_secret, "code": code}
        if redirect_uri is not None:
            query["redirect_uri"] = redirect_uri
        call = GraphCall(
            "exchange_code", subject, "GET", "oauth/access_token", None, query, is_urgent=True
        )
        return await self._transport.call(call, answers.parse_token)

    async def debug_token(self, token: str, *, subject: str, can_wait: bool = False) -> TokenReport:
        """Ask Meta about a token. A dead token gives a report too, no error: Meta answers 200.

        `can_wait`: raise MetaThrottled once SPARE_PERCENT of the app's limit is used. Such calls go
        one at a time: each knows what the one before it used, so that many do not pass the limit
        together.
        """
        max_percent = SPARE_PERCENT if can_wait else MAX_PERCENT
        query = {"input_token": token}
        call = GraphCall(
            "debug_token", subject, "GET", "debug_token", self._app_token, query,
            max_percent=max_percent, means=_of_our_token,
        )  # fmt: skip
        async with self._spare if can_wait else nullcontext():
            return await self._transport.call(call, answers.parse_report)

    async def read_waba(self, waba_id: str, token: str, *, subject: str | None = None) -> Waba:
        query = {"fields": "id,name,owner_business_info"}
        call = GraphCall(
            "read_waba", subject or waba_id, "GET", waba_id, token, query, limited_by=waba_id
        )
        return await self._as_customer(call, partial(answers.parse_waba, waba_id))

    async def read_numbers(self, waba_id: str, token: str) -> list[PhoneNumber]:
        """Return the WABA's numbers, the newest first. Take at most LIST_SECONDS."""
        rows = await self._read_number_rows(waba_id, token, _NUMBER_FIELDS)
        return [number for row in rows if (number := answers.parse_number(row)) is not None]

    async def read_number_properties(self, waba_id: str, token: str) -> list[NumberReading]:
        """Return the WABA's numbers with their properties, as `read_numbers` does."""
        rows = await self._read_number_rows(waba_id, token, _READING_FIELDS)
        return [reading for row in rows if (reading := answers.parse_reading(row)) is not None]

    async def _read_number_rows(self, waba_id: str, token: str, fields: str) -> list[object]:
        try:
            async with asyncio.timeout(LIST_SECONDS):
                return await self._read_pages(waba_id, token, fields)
        except TimeoutError:
            raise MetaUnavailable("meta_unavailable") from None

    async def _read_pages(self, waba_id: str, token: str, fields: str) -> list[object]:
        rows: list[object] = []
        query = {"fields": fields, "limit": _PAGE_SIZE}
        for _ in range(MAX_PAGES):
            call = GraphCall(
                "read_numbers", waba_id, "GET", f"{waba_id}/phone_numbers", token, query,
                limited_by=waba_id,
            )  # fmt: skip
            page, after = await self._as_customer(call, answers.parse_page)
            rows += page
            if after is None:
                break
            query = query | {"after": after}
        return rows

    async def is_subscribed(self, waba_id: str, token: str) -> bool:
        """Return whether Meta sends the WABA's webhooks to our app."""
        call = _subscription_call("read_subscriptions", "GET", waba_id, token)
        return await self._as_customer(call, partial(answers.parse_subscription, self.app_id))

    async def subscribe(self, waba_id: str, token: str) -> None:
        """Subscribe our app to the WABA's webhooks.

        This clears the WABA's callback override, if it has one: ask `is_subscribed` first.
        """
        await self._as_customer(_subscription_call("subscribe", "POST", waba_id, token), dict)

    async def unsubscribe(self, waba_id: str, token: str) -> None:
        """Unsubscribe our app. This also removes the WABA's callback override."""
        await self._as_customer(_subscription_call("unsubscribe", "DELETE", waba_id, token), dict)

    async def register(self, waba_id: str, phone_number_id: str, pin: str, token: str) -> None:
        """Register a number: at most 10 times in 72 hours, and never a number in coexistence.

        Raise RegisterUnanswered where another call would raise MetaUnavailable.
        """
        call = _number_call("register", waba_id, phone_number_id, token, {"pin": pin})
        await self._as_customer(replace(call, means=_of_a_registration), dict)

    async def deregister(self, waba_id: str, phone_number_id: str, token: str) -> None:
        """Deregister a number. Meta does not allow it for a number in coexistence."""
        call = _number_call("deregister", waba_id, phone_number_id, token)
        await self._as_customer(call, dict)

    async def sync(self, waba_id: str, phone_number_id: str, step: StepName, token: str) -> None:
        """Request contacts or history. Meta accepts each once, within 24 hours of the onboarding.

        Raise MetaRefused `sync_used` the second time, `not_on_app` if it is not on the app.
        """
        sync_type = {"sync_type": _SYNC_TYPES[step]}
        call = _number_call("sync", waba_id, phone_number_id, token, sync_type, path="smb_app_data")
        await self._as_customer(replace(call, means=_of_a_sync), dict)

    async def fetch_token(self, business_id: str, *, subject: str) -> Token:
        """Fetch the token that a customer's business granted us before, without the customer
        (Access tokens page, `fetch_only`).

        Raise MetaRefused if we have no system user token.
        """
        if self._system_token is None:
            raise MetaRefused("no_token")
        call = GraphCall(
            "fetch_token",
            subject,
            "POST",
            f"{business_id}/system_user_access_tokens",
            self._system_token,
            self._transport.proof(self._system_token),
            {"fetch_only": True},
            limited_by=business_id,
        )
        return await self._transport.call(call, answers.parse_token)

    async def _as_customer(self, call: GraphCall, parse: Callable[[Json], T]) -> T:
        """Send a call that has a token."""
        proof = self._transport.proof(call.token or "")
        call = replace(call, query={**call.query, **proof})
        return await self._transport.call(call, parse)


def _of_our_token(error: GraphError) -> GraphError:
    """Of a call with our app's token: no customer can mend it."""
    if isinstance(error, CustomerMustAct):
        return MetaRefused("app_token_refused", error.code, error.subcode)
    return error


def _of_a_registration(error: GraphError) -> GraphError:
    if isinstance(error, MetaUnavailable):
        return RegisterUnanswered(error.reason, error.code, error.subcode)
    if error.code == LOCKED:  # in this call also a wrong PIN (Registration page)
        return CustomerMustAct("pin_or_lock", error.code, error.subcode)
    return error


def _of_a_sync(error: GraphError) -> GraphError:
    if error.reason == "bad_request":  # Meta's answer for a number not on the app
        return MetaRefused("not_on_app", error.code, error.subcode)
    return error


def _subscription_call(name: str, method: Method, waba_id: str, token: str) -> GraphCall:
    path = f"{waba_id}/subscribed_apps"
    return GraphCall(name, waba_id, method, path, token, limited_by=waba_id)


def _number_call(
    name: str,
    waba_id: str,
    phone_number_id: str,
    token: str,
    body: Json | None = None,
    *,
    path: str | None = None,
) -> GraphCall:
    """Return a call that changes a number. `path` None: its name."""
    return GraphCall(
        name,
        waba_id,
        "POST",
        f"{phone_number_id}/{path or name}",
        token,
        body={"messaging_product": "whatsapp"} | (body or {}),
        phone_number_id=phone_number_id,
        limited_by=waba_id,
    )


@asynccontextmanager
async def open_graph(
    settings: GraphSettings,
    registry: CollectorRegistry,
    redis: Redis,
    keep_failure: KeepFailure,
) -> AsyncIterator[Graph]:
    """Return a client. It connects when it is first used, and shares the app's limit with other
    processes by Redis."""
    secret = settings.meta_app_secret.get_secret_value()
    system = settings.meta_system_user_token
    async with open_session() as session:
        transport = Transport(
            session,
            f"{settings.meta_graph_url.rstrip('/')}/{settings.meta_graph_version}",
            secret.encode(),
            GraphMetrics(registry),
            keep_failure,
            AppUsage(redis),
        )
        yield Graph(
            transport,
            app_id=settings.meta_app_id,
            app_secret=secret,
            app_token=settings.meta_app_access_token.get_secret_value(),
            system_token=None if system is None else system.get_secret_value(),
        )
