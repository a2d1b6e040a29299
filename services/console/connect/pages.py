"""The page where customers connect: it opens Meta's dialog and posts its results to us."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from services.console.api.fields import CodePath
from services.console.api.numbers import CustomerPinBody, NumbersApi
from services.console.api.onboarding import CodeBody, OnboardingApi, SessionBody, WabaBody
from services.console.connect.browser import States, UnknownState, browser_name, name_browser
from services.console.connect.html import DeadEnd, HtmlPages, origin_of
from services.console.connect.page_status import page_status, refused_status
from services.console.connect.who_asks import waiting_numbers, who_asks
from services.console.connect.words import language_of, words_for
from services.console.http.endpoints import Handler, read_body, validate
from services.console.http.problems import Problem
from services.console.meta_dialog import RETURN_PATH, MetaDialog
from services.console.onboardings import Onboardings
from shared.actions.errors import Missing, UseCaseError, WrongState
from shared.crypto import KeyRing
from shared.domain.dialog import CANCEL
from shared.settings.console import ConsoleSettings
from shared.store.audit import Requester
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Pool

PATH = "/connect/{tracking_code}"
#: What a status means to whoever opens the page.
_DEAD_ENDS: Mapping[int, DeadEnd] = {
    404: "no_link",
    429: "limited",
    500: "away",
    503: "away",
}


class ConnectPages:
    """Serve the page and its requests. The link alone gives access to the onboarding: its tracking
    code is a secret of 144 random bits."""

    def __init__(
        self,
        onboardings: Onboardings,
        onboarding_api: OnboardingApi,
        numbers_api: NumbersApi,
        pool: Pool,
        ring: KeyRing,
        settings: ConsoleSettings,
    ) -> None:
        self._onboardings = onboardings
        self._numbers_api = numbers_api
        self._onboarding_api = onboarding_api
        self._dialog = MetaDialog(settings)
        self._pool = pool
        self._states = States(ring)
        self._html = HtmlPages(settings)
        self._origin = settings.console_url
        #: Our page's dialogs return here, whatever URL the company named for its own.
        self._return_path_url = settings.console_url + RETURN_PATH
        meta_urls = (settings.meta_dialog_url, settings.meta_sdk_url)
        self._meta_origins = [origin_of(url) for url in meta_urls]

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """Method, path and handler of each page and of what its script calls."""
        return (
            ("GET", RETURN_PATH, self.finish_redirect),
            ("GET", PATH, self.show),
            ("GET", f"{PATH}/status", self.status),
            ("POST", f"{PATH}/session", self.session),
            ("POST", f"{PATH}/code", self.code),
            ("POST", f"{PATH}/waba", self.choose_waba),
            ("POST", f"{PATH}/pin", self.pin),
        )

    @web.middleware
    async def in_words(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tell whoever opens the page in words, and in HTML, what the API tells in JSON: that there
        are too many requests, or that a server is away."""
        response = await handler(request)
        is_shown = "text/html" in request.headers.get("Accept", "")
        is_json = response.content_type != "text/html"
        kind = _DEAD_ENDS.get(response.status)
        if kind is None or not (is_shown and is_json and request.path.startswith("/connect/")):
            return response
        page = self._html.dead_end(request, kind, response.status)
        for name, value in response.headers.items():
            if not name.startswith("Content-"):
                page.headers.setdefault(name, value)
        return page

    async def show(self, request: web.Request) -> web.Response:
        try:
            onboarding = await self._find(request)
        except (Problem, Missing):
            return self._html.dead_end(request, "no_link", 404)
        asking = await who_asks(self._pool, onboarding.organization_id)
        language = language_of(request)
        response = web.Response(content_type="text/html")
        state = self._states.make(onboarding.id, name_browser(request, response))
        tracking_code = self._onboardings.code_of(onboarding)
        facts = self._dialog.launch(onboarding, tracking_code).model_dump() | {
            "tracking_code": tracking_code,
            "status": await self._status(request, onboarding),
            "dialog_url": self._dialog.url(onboarding, self._return_path_url, state),
            "meta_origins": self._meta_origins,
            "words": words_for(language, asking.name),
            "has_return_url": onboarding.return_url is not None,
        }
        return self._html.fill(response, language, asking, onboarding.return_url, facts)

    async def status(self, request: web.Request) -> web.Response:
        return _json(await self._status(request, await self._find(request)))

    async def session(self, request: web.Request) -> web.Response:
        async def record(onboarding: Onboarding, body: SessionBody) -> None:
            await self._onboardings.record_session(
                onboarding, body.event, body.data, _customer(onboarding)
            )

        return await self._act(request, SessionBody, record)

    async def code(self, request: web.Request) -> web.Response:
        async def exchange(onboarding: Onboarding, body: CodeBody) -> None:
            await self._onboardings.exchange_code(
                onboarding, body.code, _customer(onboarding), redirect_uri=None
            )

        return await self._act(request, CodeBody, exchange)

    async def choose_waba(self, request: web.Request) -> web.Response:
        async def choose(onboarding: Onboarding, body: WabaBody) -> None:
            await self._onboardings.choose_waba(onboarding, body.waba_id, _customer(onboarding))

        return await self._act(request, WabaBody, choose)

    async def pin(self, request: web.Request) -> web.Response:
        """Set the PIN of one of the connection's numbers that wait for a PIN."""

        async def set_pin(onboarding: Onboarding, body: CustomerPinBody) -> None:
            if onboarding.waba_id is not None and onboarding.proven_at is not None:
                await self._onboardings.count_pin(onboarding)
                await self._numbers_api.set_customer_pin(
                    onboarding.waba_id, onboarding.organization_id, body.pin,
                    _customer(onboarding), digits=body.digits,
                )  # fmt: skip

        return await self._act(request, CustomerPinBody, set_pin)

    async def finish_redirect(self, request: web.Request) -> web.Response:
        """End the redirect flow and redirect to the page; without a code, record a cancellation.

        Change nothing if `state` is none of ours, or if another browser opened the dialog. If the
        code is refused, the page shows why; one that is malformed or not wanted changes nothing,
        and the page shows the onboarding as it is.
        """
        try:
            onboarding_id, is_same_browser = self._states.open(
                request.query.get("state", ""), browser_name(request)
            )
            onboarding = await self._onboardings.by_id(onboarding_id)
        except (UnknownState, Missing):
            return self._html.dead_end(request, "no_link", 404)
        if not is_same_browser:
            return self._html.dead_end(request, "other_browser", 403)
        with suppress(Problem, UseCaseError):
            if (code := request.query.get("code")) is not None:
                body = validate(CodeBody, {"code": code}, "query")
                await self._onboardings.exchange_code(
                    onboarding, body.code, _customer(onboarding),
                    redirect_uri=self._return_path_url,
                )  # fmt: skip
            else:
                await self._onboardings.record_session(
                    onboarding, CANCEL, {}, _customer(onboarding)
                )
        raise web.HTTPSeeOther(f"/connect/{self._onboardings.code_of(onboarding)}")

    async def _act(
        self, request: web.Request, model: Any, act: Callable[[Onboarding, Any], Awaitable[None]]
    ) -> web.Response:
        """Do what the page asks for. Return how the onboarding stands then; if it was refused, with
        the reason in words. Raises Problem.

        Refuses a page of another origin: it must not act for the customer.
        """
        if request.headers.get("Origin") != self._origin:
            raise Problem(403, "other_origin", "Only the page itself may send this.")
        body = await read_body(model, request)
        onboarding = await self._find(request)
        code: str | None = None
        try:
            await act(onboarding, body)
        except WrongState as error:
            code = error.code
        current = await self._onboardings.by_id(onboarding.id)
        status = await self._status(request, current, refused_with=code)
        return _json(status, status_code=409 if code else 200)

    async def _status(
        self, request: web.Request, onboarding: Onboarding, *, refused_with: str | None = None
    ) -> dict[str, Any]:
        answer = await self._onboarding_api.answer(onboarding)
        asking = await who_asks(self._pool, onboarding.organization_id)
        language = language_of(request)
        words = words_for(language, asking.name)
        numbers = await waiting_numbers(self._pool, answer)
        # Only a popup tells the account, where Meta's redirect does not.
        is_popup = onboarding.flow != "redirect" or onboarding.reason == "session_needed"
        status = page_status(answer, language, words, numbers) | {"is_popup": is_popup}
        if refused_with is None:
            return status
        return {"code": refused_with} | refused_status(status, refused_with, language, words)

    async def _find(self, request: web.Request) -> Onboarding:
        path = validate(CodePath, dict(request.match_info), "path")
        return await self._onboardings.find(path.tracking_code, None)


def _json(status: dict[str, Any], *, status_code: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(status), content_type="application/json", status=status_code
    )


def _customer(onboarding: Onboarding) -> Requester:
    """Return who has the link, for the audit log."""
    return Requester(f"customer of onboarding {onboarding.id}", "done on the page of the link")
