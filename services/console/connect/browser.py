"""Bind Meta's dialog to the browser that opened it from our page: whoever comes back in another
browser, having followed somebody's link to Meta, connects nothing."""

import binascii
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest
from uuid import UUID

from aiohttp import web

from shared.crypto import KeyRing, Undecryptable

#: `__Host-`: no other host can set it, not even a subdomain (RFC 6265bis, 4.1.3). Lax: it comes
#: along when Meta redirects to us, where Strict would not. Chromium keeps such a cookie of
#: http://localhost and http://127.0.0.1 too, though it is Secure.
COOKIE = "__Host-porteiro-browser"
_NAME = re.compile(r"[A-Za-z0-9_-]{43}")
_PLACE = b"connect page: state"
_ID_BYTES = 16


class UnknownState(Exception):
    """The `state` is none of ours."""


def browser_name(request: web.Request) -> str | None:
    """Return the random name that this browser got from us; None if it has none."""
    name = request.cookies.get(COOKIE, "")
    return name if _NAME.fullmatch(name) else None


def name_browser(request: web.Request, response: web.Response) -> str:
    """Return the browser's name. One that has none gets a new one with the response."""
    name = browser_name(request)
    if name is None:
        name = secrets.token_urlsafe(32)
        response.set_cookie(COOKIE, name, path="/", secure=True, httponly=True, samesite="Lax")
    return name


class States:
    """Make and check the `state` that Meta's dialog gives back: a sealed onboarding and browser.

    Two are never the same, and none can be made without our key.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def make(self, onboarding_id: UUID, browser: str) -> str:
        sealed = self._ring.seal(onboarding_id.bytes + _digest(browser), _PLACE)
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, state: str, browser: str | None) -> tuple[UUID, bool]:
        """Return the onboarding's id, and whether this browser opened the dialog.

        Raise UnknownState.
        """
        try:
            padded = state.encode("ascii") + b"=" * (-len(state) % 4)
            opened = self._ring.open(urlsafe_b64decode(padded), _PLACE)
        except (UnicodeEncodeError, binascii.Error, Undecryptable):
            raise UnknownState from None
        is_same = browser is not None and compare_digest(opened[_ID_BYTES:], _digest(browser))
        return UUID(bytes=opened[:_ID_BYTES]), is_same


def _digest(browser: str) -> bytes:
    return sha256(browser.encode()).digest()
