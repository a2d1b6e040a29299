"""How Meta's dialog is opened: Embedded Signup v4."""

from typing import Any
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel

from shared.settings.console import ConsoleSettings
from shared.store.connections.onboardings import Onboarding

#: Meta's dialog returns the browser here in the redirect flow, if the company names no other URL.
RETURN_PATH = "/connect/return"


class Launch(BaseModel):
    """How to open Meta's dialog: our own page, the redirect's URL, or `FB.login` with `options`.

    `dialog_url` is for a page of the company's own, and null without a `redirect_uri` of its own.
    """

    page_url: str
    dialog_url: str | None
    sdk_url: str
    app_id: str
    graph_version: str
    options: dict[str, Any]


class MetaDialog:
    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings

    def launch(self, onboarding: Onboarding, tracking_code: str) -> Launch:
        """Return how to open Meta's dialog.

        Who opens it with a `redirect_uri` of its own must bind what comes back to the browser.
        """
        settings = self._settings
        dialog_url = None
        if onboarding.redirect_uri not in (None, settings.console_url + RETURN_PATH):
            dialog_url = self.url(onboarding, onboarding.redirect_uri, tracking_code)
        return Launch(
            page_url=f"{settings.console_url}/connect/{tracking_code}",
            dialog_url=dialog_url,
            sdk_url=settings.meta_sdk_url,
            app_id=settings.meta_app_id,
            graph_version=settings.meta_graph_version,
            options={
                "config_id": settings.meta_config_id,
                "response_type": "code",
                "override_default_response_type": True,
                "extras": _extras(onboarding),
            },
        )

    def url(self, onboarding: Onboarding, redirect_uri: str, state: str) -> str:
        """Return the URL of Meta's dialog. It redirects to `redirect_uri`, and gives `state` back
        as it is."""
        settings = self._settings
        query = {
            "client_id": settings.meta_app_id,
            "config_id": settings.meta_config_id,
            "response_type": "code",
            "override_default_response_type": "true",
            "redirect_uri": redirect_uri,
            "state": state,
            "extras": orjson.dumps(_extras(onboarding)).decode(),
        }
        dialog = f"{settings.meta_dialog_url}/{settings.meta_graph_version}/dialog/oauth"
        return f"{dialog}?{urlencode(query)}"


def _extras(onboarding: Onboarding) -> dict[str, Any]:
    """Return what Embedded Signup v4 takes beside the configuration, which chooses the products.

    Empty except for coexistence: Meta's pages still name its feature type (Versions, May 2026).
    """
    extras: dict[str, Any] = {"setup": {}}
    if onboarding.is_coexistence:
        extras["featureType"] = "whatsapp_business_app_onboarding"
    return extras
