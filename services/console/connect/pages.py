"""The page where customers connect: it opens Meta's dialog and posts its results to us."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from markupsafe import escape

from services.console.api.connections import ConnectionsApi, PinBody
from services.console.api.onboarding import (
    RETURN_PATH,
    CodeBody,
    CodePath,
    OnboardingAnswer,
    OnboardingApi,
    SessionBody,
)
from services.console.http.endpoints import Handler, Problem, read_body, validate
from services.console.onboardings import Onboardings
from shared.actions.errors import Missing, UseCaseError
from shared.settings.console import ConsoleSettings
from shared.store.connections.onboardings import CANCEL, Onboarding

PATH = "/connect/{tracking_code}"
_CONNECT_PAGE = Path(__file__).parent / "static" / "connect.html"
_NOT_FOUND_PAGE = _CONNECT_PAGE.with_name("nowhere.html")
#: Shown to a customer who needs another link to continue.
NEW_LINK = "Ask us for a new link when you are ready."
#: Reasons for which the page asks for a PIN.
PIN_REASONS = ("pin_needed", "pin_or_lock")


class ConnectPages:
    """Serve the page and its requests. The link alone gives access to the onboarding: its tracking
    code is a secret of 144 random bits."""

    def __init__(
        self,
        onboardings: Onboardings,
        onboarding_api: OnboardingApi,
        connections_api: ConnectionsApi,
        settings: ConsoleSettings,
    ) -> None:
        self._onboardings = onboardings
        self._connections_api = connections_api
        self._onboarding_api = onboarding_api
        self._origin = settings.console_url
        self._content_security_policy = _content_security_policy(settings)
        self._template = Template(_CONNECT_PAGE.read_text())

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """Method, path and handler of each page and of what its script calls."""
        return (
            ("GET", RETURN_PATH, self.finish_redirect),
            ("GET", PATH, self.show),
            ("GET", f"{PATH}/status", self.status),
            ("POST", f"{PATH}/session", self.session),
            ("POST", f"{PATH}/code", self.code),
            ("POST", f"{PATH}/pin", self.pin),
        )

    async def show(self, request: web.Request) -> web.Response:
        try:
            onboarding = await self._find(request)
        except (Problem, Missing) as error:
            status = error.status if isinstance(error, Problem) else 404
            return self._html_response(_NOT_FOUND_PAGE.read_text(), status=status)
        launch = self._onboarding_api.launch(onboarding)
        page_data: dict[str, Any] = launch.model_dump() | {
            "flow": onboarding.flow,
            "tracking_code": onboarding.tracking_code,
            "status": _page_status(await self._onboarding_api.answer(onboarding)),
            "meta_origins": [_origin_of(launch.dialog_url), _origin_of(launch.sdk_url)],
        }
        return self._html_response(
            self._template.substitute(facts=escape(orjson.dumps(page_data).decode()))
        )

    def _html_response(self, text: str, *, status: int = 200) -> web.Response:
        response = web.Response(text=text, content_type="text/html", status=status)
        response.headers["Content-Security-Policy"] = self._content_security_policy
        return response

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(
            _page_status(await self._onboarding_api.answer(await self._find(request)))
        )

    async def session(self, request: web.Request) -> web.Response:
        body = await self._read_posted_body(request, SessionBody)
        onboarding = await self._onboardings.record_session(
            await self._find(request), body.event, body.data
        )
        return web.json_response(_page_status(await self._onboarding_api.answer(onboarding)))

    async def code(self, request: web.Request) -> web.Response:
        body = await self._read_posted_body(request, CodeBody)
        onboarding = await self._onboardings.exchange_code(await self._find(request), body.code)
        return web.json_response(_page_status(await self._onboarding_api.answer(onboarding)))

    async def pin(self, request: web.Request) -> web.Response:
        """Set the PIN of the connection's numbers that wait for a PIN."""
        body = await self._read_posted_body(request, PinBody)
        onboarding = await self._find(request)
        if onboarding.waba_id is not None and onboarding.proven_at is not None:
            await self._connections_api.set_customer_pin(
                onboarding.waba_id, onboarding.organization_id, body.pin
            )
        return web.json_response(_page_status(await self._onboarding_api.answer(onboarding)))

    async def finish_redirect(self, request: web.Request) -> web.Response:
        """End the redirect flow and redirect to the page; without a code, record a cancellation.

        `state` is the tracking code: Meta promises to return it intact. If it is unknown, show the
        not-found page. If the code is refused, the page shows why; one that is malformed or not
        wanted changes nothing, and the page shows the onboarding as it is.
        """
        try:
            path = validate(CodePath, {"tracking_code": request.query.get("state", "")}, "query")
            onboarding = await self._onboardings.find(path.tracking_code, None)
        except (Problem, Missing) as error:
            status = error.status if isinstance(error, Problem) else 404
            return self._html_response(_NOT_FOUND_PAGE.read_text(), status=status)
        with suppress(Problem, UseCaseError):
            if (code := request.query.get("code")) is not None:
                body = validate(CodeBody, {"code": code}, "query")
                await self._onboardings.exchange_code(
                    onboarding, body.code, self._return_url(onboarding)
                )
            else:
                await self._onboardings.record_session(onboarding, CANCEL, {})
        raise web.HTTPSeeOther(f"/connect/{onboarding.tracking_code}")

    def _return_url(self, onboarding: Onboarding) -> str:
        """Return the redirect URL that the dialog was opened with.

        This includes a popup's onboarding whose customer opened its dialog URL.
        """
        return onboarding.redirect_uri or self._origin + RETURN_PATH

    async def _find(self, request: web.Request) -> Onboarding:
        path = validate(CodePath, dict(request.match_info), "path")
        return await self._onboardings.find(path.tracking_code, None)

    async def _read_posted_body(self, request: web.Request, model: Any) -> Any:
        """Read and check a posted body. Raises Problem.

        Refuses a page of another origin: it must not act for the customer.
        """
        if request.headers.get("Origin") != self._origin:
            raise Problem(403, "other_origin", "Only the page itself may send this.")
        return await read_body(model, request)


def _page_status(answer: OnboardingAnswer) -> dict[str, Any]:
    """Return what the page shows: the step, the text for the customer, and whether it polls."""
    connection = answer.connection
    reason = connection.reason if connection else answer.reason
    remedy = connection.remedy if connection else answer.remedy
    needs_pin = connection is not None and reason in PIN_REASONS
    is_in_progress = remedy is not None and remedy.who == "nobody"
    is_done = connection is not None and connection.state == "active"
    text = None if remedy is None else remedy.text
    if is_done:
        text = "Your account is connected. You can close this page."
    elif remedy is not None and remedy.who == "operator":
        text = "Something is not right at our side. We have been told, and will see to it."
    elif connection and remedy and remedy.who == "customer" and not needs_pin:
        text = f"{remedy.text} {NEW_LINK}"
    elif answer.state == "completed" and connection is None:  # another organization owns it now
        text = f"The account is connected by this link no more. {NEW_LINK}"
    if is_done:
        step = "done"
    elif connection:
        step = "setup"
    else:
        step = "prove" if is_in_progress else "login"
    return {
        "step": step,
        "text": text,
        "is_trouble": text is not None and not is_done and not is_in_progress,
        "may_start": answer.state == "open" and not is_in_progress,
        "looks_again": not is_done and (connection is not None or is_in_progress),
        "needs_pin": needs_pin,
    }


def _content_security_policy(settings: ConsoleSettings) -> str:
    """Allow the page's own files and requests, and Meta's SDK and dialog; nothing else."""
    sdk, dialog = _origin_of(settings.meta_sdk_url), _origin_of(settings.meta_dialog_url)
    return (
        f"default-src 'none'; script-src 'self' {sdk}; style-src 'self'; img-src 'self' data:"
        f" {dialog}; connect-src 'self' {dialog} {sdk}; frame-src {dialog}; base-uri 'none';"
        f" form-action 'self' {dialog}; frame-ancestors 'none'"
    )


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
