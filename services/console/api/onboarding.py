"""The onboarding API: start, read and cancel an onboarding, and report its session and code."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.console.http.endpoints import ApiCall, Endpoint, Model, Problem
from services.console.onboardings import Onboardings
from shared.domain.remedies import Remedy, remedy
from shared.settings.console import ConsoleSettings
from shared.store.connections import views
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Pool, transaction

BASE = "/api/v1/whatsapp/onboarding"
ONBOARDING_PATH = BASE + "/{tracking_code}"
IDEMPOTENCY_KEY = "Idempotency-Key"
#: Meta's dialog returns the browser here in the redirect flow, if the company names no other URL.
RETURN_PATH = "/connect/return"

OrganizationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
#: https, or http on this machine.
Url = Annotated[
    str,
    Field(
        pattern=r"^(https://[A-Za-z0-9.-]{1,253}|http://(localhost|127\.0\.0\.1))"
        r"(:[0-9]{1,5})?(/[!-~]{0,500})?$"
    ),
]


def _whole_to_int(value: object) -> object:
    """Return 5 for 5.0: in JSON both are the same integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class StartBody(Model):
    organization_id: OrganizationId | None = None
    flow: Literal["popup", "redirect"] = "popup"
    #: The customer's number stays on the WhatsApp Business app.
    is_coexistence: bool = False
    redirect_uri: Url | None = None
    lifetime_minutes: Annotated[int, Field(ge=5, le=43_200), BeforeValidator(_whole_to_int)] = 1440


class SessionBody(Model):
    """Meta's WA_EMBEDDED_SIGNUP message, as it came: what else it says is not read."""

    model_config = ConfigDict(extra="ignore")

    event: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{0,63}$")]
    data: Annotated[dict[str, Any], Field(max_length=50, default_factory=dict)]


class CodeBody(Model):
    code: Annotated[str, Field(pattern=r"^[!-~]{1,4096}$")]
    redirect_uri: Url | None = None


class CodePath(Model):
    tracking_code: Annotated[str, Field(pattern=r"^[!-.0-~]{1,128}$")]


class RemedyAnswer(BaseModel):
    who: Literal["customer", "operator", "nobody"]
    text: str


class ConnectionState(BaseModel):
    waba_id: str
    state: str
    reason: str | None
    remedy: RemedyAnswer | None
    next_attempt_at: datetime | None


class OnboardingAnswer(BaseModel):
    """`reason` says why it is not completed, or is stuck, `next_attempt_at` when it goes on by
    itself; `connection` comes with the proof."""

    tracking_code: str
    organization_id: str
    flow: str
    state: Literal["open", "completed", "cancelled", "expired"]
    reason: str | None
    remedy: RemedyAnswer | None
    next_attempt_at: datetime | None
    session_event: str | None
    waba_id: str | None
    connection: ConnectionState | None
    created_at: datetime
    expires_at: datetime


class Launch(BaseModel):
    """How to open Meta's dialog: our own page, the redirect's URL, or `FB.login` with `options`."""

    page_url: str
    dialog_url: str
    sdk_url: str
    app_id: str
    graph_version: str
    options: dict[str, Any]


class StartAnswer(OnboardingAnswer):
    launch: Launch


def remedy_answer(known_remedy: Remedy | None) -> RemedyAnswer | None:
    """Return a remedy as the API shows it."""
    if known_remedy is None:
        return None
    return RemedyAnswer(who=known_remedy.who, text=known_remedy.text)


class OnboardingApi:
    def __init__(self, onboardings: Onboardings, pool: Pool, settings: ConsoleSettings) -> None:
        self._onboardings = onboardings
        self._pool = pool
        self._settings = settings

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "POST", BASE, "startOnboarding", "Start an onboarding", self.start,
                {200: StartAnswer, 201: StartAnswer}, refuses=(403, 409, 422), body=StartBody,
                headers={IDEMPOTENCY_KEY: "The same key means the same onboarding"},
            ),
            Endpoint(
                "GET", ONBOARDING_PATH, "getOnboarding", "How an onboarding stands", self.show,
                {200: OnboardingAnswer}, refuses=(404,), path_model=CodePath,
            ),
            Endpoint(
                "DELETE", ONBOARDING_PATH, "cancelOnboarding", "Close an open onboarding",
                self.cancel, {200: OnboardingAnswer}, refuses=(404,), path_model=CodePath,
            ),
            Endpoint(
                "POST", f"{ONBOARDING_PATH}/session", "reportSession",
                "What Meta's dialog told the browser", self.session, {200: OnboardingAnswer},
                refuses=(404, 409), path_model=CodePath, body=SessionBody,
            ),
            Endpoint(
                "POST", f"{ONBOARDING_PATH}/code", "exchangeCode",
                "The code Meta's dialog gave: within 30 s", self.code, {200: OnboardingAnswer},
                refuses=(404, 409), path_model=CodePath, body=CodeBody,
            ),
        )  # fmt: skip

    async def start(self, call: ApiCall) -> tuple[int, StartAnswer]:
        body: StartBody = call.body
        organization_id = call.authenticated.scope(body.organization_id)
        if organization_id is None:
            raise Problem(
                403, "organization_needed", "This key is the company's: name an organization_id."
            )
        key = call.headers.get(IDEMPOTENCY_KEY)
        if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
            raise Problem(422, "invalid_header", f"{IDEMPOTENCY_KEY}: 1 to 200 plain characters.")
        redirect_uri = body.redirect_uri
        if body.flow == "redirect":
            redirect_uri = redirect_uri or self._settings.console_url + RETURN_PATH
        onboarding, is_new = await self._onboardings.start(
            organization_id,
            flow=body.flow,
            is_coexistence=body.is_coexistence,
            redirect_uri=redirect_uri,
            lifetime=timedelta(minutes=body.lifetime_minutes),
            idempotency_key=key,
        )
        answer = await self.answer(onboarding)
        return (201 if is_new else 200), StartAnswer(
            **answer.model_dump(), launch=self.launch(onboarding)
        )

    async def show(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        return 200, await self.answer(await self._find(call))

    async def cancel(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        return 200, await self.answer(await self._onboardings.cancel(await self._find(call)))

    async def session(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        body: SessionBody = call.body
        onboarding = await self._find(call)
        return 200, await self.answer(
            await self._onboardings.record_session(onboarding, body.event, body.data)
        )

    async def code(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        body: CodeBody = call.body
        onboarding = await self._find(call)
        return 200, await self.answer(
            await self._onboardings.exchange_code(onboarding, body.code, body.redirect_uri)
        )

    async def answer(self, onboarding: Onboarding) -> OnboardingAnswer:
        """Return the onboarding as the API shows it, with its connection once it is proven."""
        view = None
        if onboarding.proven_at is not None and onboarding.waba_id is not None:
            async with transaction(self._pool) as conn:
                view = await views.connection(
                    conn, onboarding.waba_id, organization_id=onboarding.organization_id
                )
        reason = onboarding.why(datetime.now(UTC))
        goes_on_at = onboarding.next_attempt_at if reason == onboarding.waits_for else None
        return OnboardingAnswer(
            tracking_code=onboarding.tracking_code,
            organization_id=onboarding.organization_id,
            flow=onboarding.flow,
            state=onboarding.state,
            reason=reason,
            remedy=remedy_answer(remedy(reason, goes_on=goes_on_at is not None)),
            next_attempt_at=goes_on_at,
            session_event=onboarding.session_event,
            waba_id=onboarding.waba_id,
            connection=view
            and ConnectionState(
                waba_id=view.waba_id,
                state=view.state,
                reason=view.why,
                remedy=remedy_answer(view.remedy),
                next_attempt_at=view.goes_on_at,
            ),
            created_at=onboarding.created_at,
            expires_at=onboarding.expires_at,
        )

    def launch(self, onboarding: Onboarding) -> Launch:
        """Return how to open Meta's dialog, for Embedded Signup v4.

        The configuration chooses the products. `extras` is empty except for coexistence: Meta's
        pages still name its feature type (Versions, May 2026).
        """
        settings = self._settings
        extras: dict[str, Any] = {"setup": {}}
        if onboarding.is_coexistence:
            extras["featureType"] = "whatsapp_business_app_onboarding"
        options = {
            "config_id": settings.meta_config_id,
            "response_type": "code",
            "override_default_response_type": True,
            "extras": extras,
        }
        query = {
            "client_id": settings.meta_app_id,
            "config_id": settings.meta_config_id,
            "response_type": "code",
            "override_default_response_type": "true",
            "redirect_uri": onboarding.redirect_uri or settings.console_url + RETURN_PATH,
            "state": onboarding.tracking_code,
            "extras": orjson.dumps(extras).decode(),
        }
        dialog = f"{settings.meta_dialog_url}/{settings.meta_graph_version}/dialog/oauth"
        return Launch(
            page_url=f"{settings.console_url}/connect/{onboarding.tracking_code}",
            dialog_url=f"{dialog}?{urlencode(query)}",
            sdk_url=settings.meta_sdk_url,
            app_id=settings.meta_app_id,
            graph_version=settings.meta_graph_version,
            options=options,
        )

    async def _find(self, call: ApiCall) -> Onboarding:
        return await self._onboardings.find(
            call.path.tracking_code, call.authenticated.organization_id
        )
