"""The page customers connect on: it opens Meta's dialog and hands on what the dialog says."""

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
from services.console.http.endpoints import Problem, checked, read_body
from services.console.onboardings import Onboardings
from shared.settings.console import ConsoleSettings
from shared.store.connections.onboardings import CANCEL, Onboarding

PATH = "/connect/{tracking_code}"
_PAGE = Path(__file__).parent / "static" / "connect.html"
_NOWHERE = _PAGE.with_name("nowhere.html")
#: What a customer reads where the way on is another link.
NEW_LINK = "Ask us for a new link when you are ready."
#: Reasons for which the page asks for a PIN.
NEEDS_PIN = ("pin_needed", "pin_or_lock")


class ConnectPages:
    """Who has the link has the onboarding: its tracking code is a secret of 144 random bits."""

    def __init__(
        self,
        onboardings_of: Onboardings,
        api: OnboardingApi,
        connections: ConnectionsApi,
        settings: ConsoleSettings,
    ) -> None:
        self._signup = onboardings_of
        self._connections = connections
        self._api = api
        self._origin = settings.console_url
        self._policy = _policy(settings)
        self._page = Template(_PAGE.read_text())

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(RETURN_PATH, self.came_back, allow_head=False)
        app.router.add_get(PATH, self.show, allow_head=False)
        app.router.add_get(f"{PATH}/status", self.status, allow_head=False)
        app.router.add_post(f"{PATH}/session", self.session)
        app.router.add_post(f"{PATH}/code", self.code)
        app.router.add_post(f"{PATH}/pin", self.pin)

    async def show(self, request: web.Request) -> web.Response:
        try:
            one = await self._find(request)
        except Problem as problem:
            return self._html(_NOWHERE.read_text(), status=problem.status)
        launch = self._api.launch(one)
        facts: dict[str, Any] = launch.model_dump() | {
            "flow": one.flow,
            "tracking_code": one.tracking_code,
            "status": _told(await self._api.answer(one)),
            "meta_origins": [_origin_of(launch.dialog_url), _origin_of(launch.sdk_url)],
        }
        return self._html(self._page.substitute(facts=escape(orjson.dumps(facts).decode())))

    def _html(self, text: str, *, status: int = 200) -> web.Response:
        response = web.Response(text=text, content_type="text/html", status=status)
        response.headers["Content-Security-Policy"] = self._policy
        return response

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(_told(await self._api.answer(await self._find(request))))

    async def session(self, request: web.Request) -> web.Response:
        body = await self._posted(request, SessionBody)
        one = await self._signup.take_session(await self._find(request), body.event, body.data)
        return web.json_response(_told(await self._api.answer(one)))

    async def code(self, request: web.Request) -> web.Response:
        body = await self._posted(request, CodeBody)
        one = await self._signup.take_code(await self._find(request), body.code)
        return web.json_response(_told(await self._api.answer(one)))

    async def pin(self, request: web.Request) -> web.Response:
        """The PIN of the numbers that wait for one."""
        body = await self._posted(request, PinBody)
        one = await self._find(request)
        if one.waba_id is not None and one.proven_at is not None:
            await self._connections.tell_pin(one.waba_id, one.organization_id, body.pin)
        return web.json_response(_told(await self._api.answer(one)))

    async def came_back(self, request: web.Request) -> web.Response:
        """The redirect flow's end: `state` is the tracking code, intact as Meta promises. What is
        wrong with the code, or why none is wanted any more, the page then says."""
        try:
            path = checked(CodePath, {"tracking_code": request.query.get("state", "")}, "query")
            one = await self._signup.find(path.tracking_code, None)
        except Problem as problem:
            return self._html(_NOWHERE.read_text(), status=problem.status)
        with suppress(Problem):
            if (code := request.query.get("code")) is not None:
                body = checked(CodeBody, {"code": code}, "query")
                await self._signup.take_code(one, body.code, self._return_url(one))
            else:
                await self._signup.take_session(one, CANCEL, {})
        raise web.HTTPSeeOther(f"/connect/{one.tracking_code}")

    def _return_url(self, one: Onboarding) -> str:
        """What the dialog had: also where a popup's onboarding was opened by its dialog URL."""
        return one.redirect_uri or self._origin + RETURN_PATH

    async def _find(self, request: web.Request) -> Onboarding:
        path = checked(CodePath, dict(request.match_info), "path")
        return await self._signup.find(path.tracking_code, None)

    async def _posted(self, request: web.Request, model: Any) -> Any:
        """A page of another origin must not speak for the customer."""
        if request.headers.get("Origin") != self._origin:
            raise Problem(403, "other_origin", "Only the page itself may send this.")
        return await read_body(model, request)


def _told(answer: OnboardingAnswer) -> dict[str, Any]:
    """What the customer may see: how far it is, what to do, and whether the page looks again."""
    connection = answer.connection
    reason = connection.reason if connection else answer.reason
    remedy = connection.remedy if connection else answer.remedy
    needs_pin = connection is not None and reason in NEEDS_PIN
    goes_on = remedy is not None and remedy.who == "nobody"
    is_done = connection is not None and connection.state == "active"
    text = None if remedy is None else remedy.text
    if is_done:
        text = "Your account is connected. You can close this page."
    elif remedy is not None and remedy.who == "operator":
        text = "Something is not right at our side. We have been told, and will see to it."
    elif connection and remedy and remedy.who == "customer" and not needs_pin:
        text = f"{remedy.text} {NEW_LINK}"
    elif answer.state == "completed" and connection is None:  # another organization has it now
        text = f"The account is connected by this link no more. {NEW_LINK}"
    return {
        "step": "done" if is_done else "setup" if connection else "prove" if goes_on else "login",
        "text": text,
        "is_trouble": text is not None and not is_done and not goes_on,
        "may_start": answer.state == "open" and not goes_on,
        "looks_again": not is_done and (connection is not None or goes_on),
        "needs_pin": needs_pin,
    }


def _policy(settings: ConsoleSettings) -> str:
    """Scripts of ours and Meta's SDK; its dialog's window and frames; nothing else."""
    sdk, dialog = _origin_of(settings.meta_sdk_url), _origin_of(settings.meta_dialog_url)
    return (
        f"default-src 'none'; script-src 'self' {sdk}; style-src 'self'; img-src 'self' data:"
        f" {dialog}; connect-src 'self' {dialog} {sdk}; frame-src {dialog}; base-uri 'none';"
        f" form-action 'self' {dialog}; frame-ancestors 'none'"
    )


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
