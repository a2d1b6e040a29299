"""The launch dialog: as a popup for the JavaScript SDK, and as a page that redirects."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web
from pydantic import ValidationError

from deploy.local.simulated_meta import pages
from deploy.local.simulated_meta.graph import VERSIONS
from deploy.local.simulated_meta.signups import Onboardings, cancelled, sign_up
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
        router.add_get("/sdk.js", self._script)
        router.add_get("/dialog/popup", self._offer)
        router.add_post("/dialog/popup", self._finish_popup)
        for version in VERSIONS:
            router.add_get(f"{version}/dialog/oauth", self._offer)
            router.add_post(f"{version}/dialog/oauth", self._redirect)

    async def _script(self, _: web.Request) -> web.Response:
        return web.Response(text=self._sdk, content_type="text/javascript")

    async def _offer(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        if why := self._objection(request.path, asked):
            return _page(pages.refusal(why), 400)
        return _page(pages.choice(self._world.living(), asked))

    async def _finish_popup(self, request: web.Request) -> web.Response:
        asked = await _form(request)
        if why := self._objection(request.path, asked):
            return _page(pages.refusal(why), 400)
        if asked.get("event") == CANCEL:
            return _page(pages.outcome(cancelled(), None, asked["origin"]))
        try:
            code, message = sign_up(self._world, _signup(asked))
        except (ValidationError, Unfit):
            return _page(pages.refusal("That choice is not there."), 400)
        return _page(pages.outcome(message, code, asked["origin"]))

    async def _redirect(self, request: web.Request) -> web.Response:
        asked = await _form(request)
        if why := self._objection(request.path, asked):
            return _page(pages.refusal(why), 400)
        state = {"state": asked["state"]} if "state" in asked else {}
        redirect_uri = asked["redirect_uri"]
        if asked.get("event") == CANCEL:
            return _moved(redirect_uri, {"error": "access_denied", **state})
        try:
            code, _ = sign_up(self._world, _signup(asked, redirect_uri))
        except (ValidationError, Unfit):
            return _page(pages.refusal("That choice is not there."), 400)
        return _moved(redirect_uri, {"code": code, **state})

    def _objection(self, path: str, asked: Mapping[str, str]) -> str | None:
        """Why Meta would not show this dialog."""
        if asked.get("client_id") != self._world.app.app_id:
            return "Invalid App ID: client_id is not the app's."
        if asked.get("response_type") != "code":
            return "response_type must be code."
        if path.endswith("/popup"):
            if not _ORIGIN.fullmatch(asked.get("origin", "")):
                return "origin must be that of the page."
        elif not _REDIRECT_URI.fullmatch(asked.get("redirect_uri", "")):
            return "redirect_uri must be an absolute URL."
        return None


def _signup(asked: Mapping[str, str], redirect_uri: str = "") -> Onboardings:
    return Onboardings.model_validate(
        {
            "waba_id": asked.get("waba_id"),
            "event": asked.get("event"),
            "redirect_uri": redirect_uri,
        }
    )


async def _form(request: web.Request) -> dict[str, str]:
    form = await request.post()
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _moved(redirect_uri: str, said: Mapping[str, str]) -> web.Response:
    """The URL as it was given, with what is said behind it."""
    mark = "&" if "?" in redirect_uri else "?"
    location = f"{redirect_uri}{mark}{urlencode(said)}"
    return web.Response(status=302, headers={"Location": location})


def _page(html: str, status: int = 200) -> web.Response:
    return web.Response(text=html, status=status, content_type="text/html")
