"""Fill the page's HTML. Every value in it is escaped."""

from pathlib import Path
from string import Template
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from markupsafe import escape

from services.console.connect.who_asks import WhoAsks
from services.console.connect.words import language_of, words_for
from shared.domain.remedies import Language
from shared.settings.console import ConsoleSettings

_STATIC = Path(__file__).parent / "static"
#: Where a customer cannot go on from here, or not now.
DeadEnd = Literal["no_link", "other_browser", "limited", "away"]
#: After these the same address may be opened again.
_PASSING: tuple[DeadEnd, ...] = ("limited", "away")


class HtmlPages:
    def __init__(self, settings: ConsoleSettings) -> None:
        self._page = Template((_STATIC / "connect.html").read_text())
        self._dead_end = Template((_STATIC / "dead_end.html").read_text())
        self._sdk = origin_of(settings.meta_sdk_url)
        self._dialog = origin_of(settings.meta_dialog_url)

    def fill(
        self,
        response: web.Response,
        language: Language,
        asking: WhoAsks,
        return_url: str | None,
        facts: dict[str, Any],
    ) -> web.Response:
        """Put the page into the response. `facts` are for its script."""
        values = {
            **facts["words"],
            "language": language,
            "facts": orjson.dumps(facts).decode(),
            "organization": asking.name,
            "initial": asking.name[:1].upper(),
            "logo_url": asking.logo_url or "data:,",
            "has_logo": "yes" if asking.logo_url else "no",
            "return_url": return_url or "",
        }
        return self._write(response, self._page, values, asking.logo_url)

    def dead_end(self, request: web.Request, kind: DeadEnd, status: int) -> web.Response:
        language = language_of(request)
        words = words_for(language, "")
        values = {
            "language": language,
            "title": words["title"],
            "heading": words[f"{kind}_heading"],
            "text": words[kind],
            "try_again": words["try_again"],
            "passing": "yes" if kind in _PASSING else "no",
        }
        response = web.Response(content_type="text/html", status=status)
        return self._write(response, self._dead_end, values, None)

    def _write(
        self,
        response: web.Response,
        template: Template,
        values: dict[str, str],
        logo_url: str | None,
    ) -> web.Response:
        response.text = template.substitute({name: escape(value) for name, value in values.items()})
        response.headers["Content-Security-Policy"] = self._policy(logo_url)
        return response

    def _policy(self, logo_url: str | None) -> str:
        """Allow the page's own files and requests, Meta's SDK and dialog, and the organization's
        logo; nothing else."""
        sdk, dialog = self._sdk, self._dialog
        logo = f" {origin_of(logo_url)}" if logo_url else ""
        return (
            f"default-src 'none'; script-src 'self' {sdk}; style-src 'self'; img-src 'self' data:"
            f" {dialog}{logo}; connect-src 'self' {dialog} {sdk}; frame-src {dialog};"
            f" base-uri 'none'; form-action 'self' {dialog}; frame-ancestors 'none'"
        )


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
