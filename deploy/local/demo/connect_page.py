"""Stand in for the browser of a customer on our page, without one."""

import html
import json
import re
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

_FACTS = re.compile(r'data-facts="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ConnectPage:
    """An open page. `headers` carry its cookie: aiohttp keeps no Secure cookie of plain HTTP."""

    http: aiohttp.ClientSession
    facts: dict[str, Any]
    headers: dict[str, str]

    async def finish_dialog(self, waba_id: str, event: str = "FINISH", **more: str) -> URL:
        """Finish Meta's dialog in the same window. Return where it redirects the browser to."""
        dialog = URL(self.facts["dialog_url"])
        form = {**dialog.query, "waba_id": waba_id, "event": event, **more}
        async with self.http.post(
            dialog.with_query(None), data=form, allow_redirects=False
        ) as answer:
            return URL(answer.headers["Location"], encoded=True)


async def open_connect_page(http: aiohttp.ClientSession, url: str | URL) -> ConnectPage:
    async with http.get(url, raise_for_status=True) as answer:
        [facts] = _FACTS.findall(await answer.text())
        cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in answer.cookies.items())
    return ConnectPage(http, json.loads(html.unescape(facts)), {"Cookie": cookies})
