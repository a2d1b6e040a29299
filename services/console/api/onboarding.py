"""The onboarding API: start, read and cancel an onboarding, and report its session and code."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.console.api.fields import (
    CodePath,
    GoesOnAt,
    MetaId,
    OrganizationId,
    ReasonWord,
    Url,
)
from services.console.api.remedy_answer import RemedyAnswer, remedy_answer
from services.console.http.endpoints import HEADER_VALUE, ApiCall, Endpoint, Model, OnBehalfOf
from services.console.http.problems import Problem
from services.console.meta_dialog import RETURN_PATH, Launch, MetaDialog
from services.console.onboardings import Onboardings
from shared.domain.remedies import remedy
from shared.settings.console import ConsoleSettings
from shared.store.connections import tracking_codes, views
from shared.store.connections.onboardings import NewOnboarding, Onboarding
from shared.store.pool import Pool, transaction

BASE = "/api/v1/whatsapp/onboarding"
ONBOARDING_PATH = BASE + "/{tracking_code}"
IDEMPOTENCY_KEY = "Idempotency-Key"


def _whole_to_int(value: object) -> object:
    """Return 5 for 5.0: in JSON both are the same integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class StartBody(Model):
    organization_id: OrganizationId | None = None
    flow: Literal["popup", "redirect"] = "popup"
    is_coexistence: Annotated[
        bool, Field(description="The customer's number stays on the WhatsApp Business app")
    ] = False
    redirect_uri: Url | None = None
    return_url: Annotated[
        Url | None, Field(description="Where our page leads the customer when all is done")
    ] = None
    lifetime_minutes: Annotated[int, Field(ge=5, le=43_200), BeforeValidator(_whole_to_int)] = 1440
    on_behalf_of: OnBehalfOf | None = None


class SessionBody(Model):
    """Meta's WA_EMBEDDED_SIGNUP message, as it came: what else it says is not read. If Meta's
    script gave no code at the end, `event` is CODE_MISSING."""

    model_config = ConfigDict(extra="ignore")

    event: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{0,63}$", examples=["FINISH"])]
    data: Annotated[
        dict[str, Any],
        Field(max_length=50, default_factory=dict, examples=[{"waba_id": "102290129340398"}]),
    ]


class CodeBody(Model):
    code: Annotated[str, Field(pattern=r"^[!-~]{1,4096}$", examples=["AQDl0...4f"])]
    redirect_uri: Url | None = None


class WabaBody(Model):
    waba_id: MetaId


class ConnectionState(BaseModel):
    waba_id: str
    state: str
    reason: ReasonWord | None
    remedy: RemedyAnswer | None
    next_attempt_at: GoesOnAt


class WabaChoiceAnswer(BaseModel):
    waba_id: str
    name: str | None


class OnboardingAnswer(BaseModel):
    """`reason` says why it is not completed, or is stuck, `next_attempt_at` when it goes on by
    itself; `connection` comes with the proof. If the customer shared several WABAs, one of
    `waba_choices` must be chosen (`waba_choice_needed`). `tracking_code` is a secret: it gives
    access to the onboarding. `onboarding_id` is none, and may be logged."""

    onboarding_id: UUID
    tracking_code: str
    organization_id: str
    flow: str
    state: Literal["open", "completed", "cancelled", "expired"]
    reason: ReasonWord | None
    remedy: RemedyAnswer | None
    next_attempt_at: GoesOnAt
    session_event: str | None
    waba_id: str | None
    waba_choices: list[WabaChoiceAnswer]
    connection: ConnectionState | None
    created_at: datetime
    expires_at: datetime


class StartAnswer(OnboardingAnswer):
    launch: Launch


class OnboardingApi:
    def __init__(self, onboardings: Onboardings, pool: Pool, settings: ConsoleSettings) -> None:
        self._onboardings = onboardings
        self._pool = pool
        self._settings = settings
        self._dialog = MetaDialog(settings)

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                "POST", BASE, "startOnboarding", "Start an onboarding",
                "Send the customer to `launch.page_url`, or open Meta's dialog on a page of your"
                " own. With the same Idempotency-Key the answer is 200 and the first onboarding.",
                self.start, {200: StartAnswer, 201: StartAnswer}, refuses=(403, 409, 422),
                body=StartBody,
                headers={IDEMPOTENCY_KEY: "The same key means the same onboarding"},
            ),
            Endpoint(
                "GET", ONBOARDING_PATH, "getOnboarding", "How an onboarding stands",
                "`reason` and `remedy` say what is missing and who must act; `connection` comes"
                " with the proof.",
                self.show, {200: OnboardingAnswer}, refuses=(404,), path_model=CodePath,
            ),
            Endpoint(
                "DELETE", ONBOARDING_PATH, "cancelOnboarding", "Close an open onboarding",
                "Its link works no more. What is proven already stays.",
                self.cancel, {200: OnboardingAnswer}, refuses=(404,), path_model=CodePath,
            ),
            Endpoint(
                "POST", f"{ONBOARDING_PATH}/session", "reportSession",
                "What Meta's dialog told the browser",
                "Its WA_EMBEDDED_SIGNUP message, as it came, before or after the code.",
                self.session, {200: OnboardingAnswer}, refuses=(404, 409), path_model=CodePath,
                body=SessionBody,
            ),
            Endpoint(
                "POST", f"{ONBOARDING_PATH}/code", "exchangeCode",
                "The code Meta's dialog gave: within 30 s",
                "It is exchanged once. A refused one leaves the onboarding open: see `reason`.",
                self.code, {200: OnboardingAnswer}, refuses=(404, 409), path_model=CodePath,
                body=CodeBody,
            ),
            Endpoint(
                "POST", f"{ONBOARDING_PATH}/waba", "chooseWaba",
                "Which one of `waba_choices` is connected",
                "When the customer shared several WABAs in one login (`waba_choice_needed`).",
                self.choose_waba, {200: OnboardingAnswer}, refuses=(404, 409), path_model=CodePath,
                body=WabaBody,
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
        if key is not None and not HEADER_VALUE.fullmatch(key):
            raise Problem(
                422, "invalid_header", f"{IDEMPOTENCY_KEY}: 1 to 200 ASCII characters, no space."
            )
        redirect_uri = body.redirect_uri
        if body.flow == "redirect":
            redirect_uri = redirect_uri or self._settings.console_url + RETURN_PATH
        new = NewOnboarding(
            organization_id,
            tracking_codes.new_code(),
            datetime.now(UTC) + timedelta(minutes=body.lifetime_minutes),
            flow=body.flow,
            is_coexistence=body.is_coexistence,
            redirect_uri=redirect_uri,
            return_url=body.return_url,
            idempotency_key=key,
        )
        requester = call.authenticated.requester(on_behalf_of=body.on_behalf_of)
        onboarding, is_new = await self._onboardings.start(new, requester)
        answer = await self.answer(onboarding)
        return (201 if is_new else 200), StartAnswer(
            **answer.model_dump(), launch=self._dialog.launch(onboarding, answer.tracking_code)
        )

    async def show(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        return 200, await self.answer(await self._find(call))

    async def cancel(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        onboarding = await self._find(call)
        requester = call.authenticated.requester()
        return 200, await self.answer(await self._onboardings.cancel(onboarding, requester))

    async def session(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        body: SessionBody = call.body
        onboarding = await self._find(call)
        return 200, await self.answer(
            await self._onboardings.record_session(
                onboarding, body.event, body.data, call.authenticated.requester()
            )
        )

    async def code(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        body: CodeBody = call.body
        onboarding = await self._find(call)
        redirect_uri = body.redirect_uri
        if onboarding.flow == "redirect":
            redirect_uri = redirect_uri or onboarding.redirect_uri
        return 200, await self.answer(
            await self._onboardings.exchange_code(
                onboarding, body.code, call.authenticated.requester(), redirect_uri=redirect_uri
            )
        )

    async def choose_waba(self, call: ApiCall) -> tuple[int, OnboardingAnswer]:
        body: WabaBody = call.body
        onboarding = await self._find(call)
        return 200, await self.answer(
            await self._onboardings.choose_waba(
                onboarding, body.waba_id, call.authenticated.requester()
            )
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
            onboarding_id=onboarding.id,
            tracking_code=self._onboardings.code_of(onboarding),
            organization_id=onboarding.organization_id,
            flow=onboarding.flow,
            state=onboarding.state,
            reason=reason,
            remedy=remedy_answer(remedy(reason, goes_on=goes_on_at is not None)),
            next_attempt_at=goes_on_at,
            session_event=onboarding.session_event,
            waba_id=onboarding.waba_id,
            waba_choices=[
                WabaChoiceAnswer(waba_id=choice.waba_id, name=choice.name)
                for choice in await self._onboardings.choices(onboarding)
            ],
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

    async def _find(self, call: ApiCall) -> Onboarding:
        return await self._onboardings.find(
            call.path.tracking_code, call.authenticated.organization_id
        )
