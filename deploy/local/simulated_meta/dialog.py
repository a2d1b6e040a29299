"""Serve the launch dialog: a popup for the JavaScript SDK, and a page that redirects."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web
from pydantic import ValidationError

from deploy.local.simulated_meta import pages
from deploy.local.simulated_meta.graph import VERSIONS
from deploy.local.simulated_meta.signups import SignupOrder, cancel_message, sign_up
from deploy.local.simulated_meta.world import Unfit, World

_SDK = Path(__file__).with_name("sdk.js")
_REDIRECT_URI = re.compile(r"https?://[^/?#\s]+[^#\s]*")
_ORIGIN = re.compile(r"https?://[^/?#\s]+")
CANCEL = "CANCEL"


class Dialog:
    def __init__(self, world: World) -> None:
        self._world = world
        self._sdk = _SDK.read_text()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/sdk.js", self._send_sdk)
        router.add_get("/dialog/popup", self._show)
        router.add_post("/dialog/popup", self._finish_popup)
        for version in VERSIONS:
            router.add_get(f"{version}/dialog/oauth", self._show)
            router.add_post(f"{version}/dialog/oauth", self._redirect)

    async def _send_sdk(self, _: web.Request) -> web.Response:
        return web.Response(text=self._sdk, content_type="text/javascript")

    async def _show(self, request: web.Request) -> web.Response:
        params = dict(request.query)
        if reason := self._refusal(request.path, params):
            return _page(pages.refusal(reason), 400)
        return _page(pages.choice(self._world.existing_wabas(), params))

    async def _finish_popup(self, request: web.Request) -> web.Response:
        params = await _form(request)
        if reason := self._refusal(request.path, params):
            return _page(pages.refusal(reason), 400)
        if params.get("event") == CANCEL:
            return _page(pages.outcome(cancel_message(), None, params["origin"]))
        try:
            code, message = sign_up(self._world, await _signup(request))
        except (ValidationError, Unfit):
            return _page(pages.refusal("This choice does not exist."), 400)
        return _page(pages.outcome(message, code, params["origin"]))

    async def _redirect(self, request: web.Request) -> web.Response:
        params = await _form(request)
        if reason := self._refusal(request.path, params):
            return _page(pages.refusal(reason), 400)
        state = {"state": params["state"]} if "state" in params else {}
        redirect_uri = params["redirect_uri"]
        if params.get("event") == CANCEL:
            return _redirection(redirect_uri, {"error": "access_denied", **state})
        try:
            code, _ = sign_up(self._world, await _signup(request, redirect_uri))
        except (ValidationError, Unfit):
            return _page(pages.refusal("This choice does not exist."), 400)
        return _redirection(redirect_uri, {"code": code, **state})

    def _refusal(self, path: str, params: Mapping[str, str]) -> str | None:
        """Return why Meta would not show this dialog, or None if it would."""
        if params.get("client_id") != self._world.app.app_id:
            return "Invalid App ID: client_id is not the id of the app."
        if params.get("response_type") != "code":
            return "response_type must be code."
        if path.endswith("/popup"):
            if not _ORIGIN.fullmatch(params.get("origin", "")):
                return "origin must be the origin of the page."
        elif not _REDIRECT_URI.fullmatch(params.get("redirect_uri", "")):
            return "redirect_uri must be an absolute URL."
        return None


async def _signup(request: web.Request, redirect_uri: str = "") -> SignupOrder:
    form = await request.post()
    return SignupOrder.model_validate(
        {
            "waba_id": form.get("waba_id"),
            "event": form.get("event"),
            "also": form.getall("also", []),
            "redirect_uri": redirect_uri,
        }
    )


async def _form(request: web.Request) -> dict[str, str]:
    form = await request.post()
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _redirection(redirect_uri: str, query: Mapping[str, str]) -> web.Response:
    """Redirect to the given URL with the query appended."""
    separator = "&" if "?" in redirect_uri else "?"
    location = f"{redirect_uri}{separator}{urlencode(query)}"
    return web.Response(status=302, headers={"Location": location})


def _page(html: str, status: int = 200) -> web.Response:
    return web.Response(text=html, status=status, content_type="text/html")
