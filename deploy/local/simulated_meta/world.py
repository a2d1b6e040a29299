"""The state of the simulated Meta: WABAs, numbers, codes and tokens. No HTTP."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from deploy.local.simulated_meta.grants import MANAGEMENT, MESSAGING, Code, Grant, Token

Body = dict[str, Any]
Verification = Literal["VERIFIED", "NOT_VERIFIED", "EXPIRED"]
NameStatus = Literal["APPROVED", "PENDING_REVIEW", "DECLINED"]
#: Our own business portfolio. PARTNER_* webhooks have its id (account_update reference, Feb 2026).
PARTNER = "710000000000001"

#: What an app can subscribe to (Webhooks overview and its pages of fields, 2026).
FIELDS = frozenset(
    "account_alerts account_review_update account_settings_update account_update automatic_events"
    " business_capability_update business_username_updates calls consumer_profile flows"
    " group_lifecycle_update group_participants_update group_settings_update group_status_update"
    " history message_echoes message_template_components_update message_template_quality_update"
    " message_template_status_update messages messaging_handovers partner_solutions"
    " payment_configuration_update phone_number_name_update phone_number_quality_update security"
    " smb_app_state_sync smb_message_echoes standby template_category_update"
    " template_correct_category_detection user_id_update user_preferences".split()
)


class Unfit(ValueError):
    """The order is impossible in the present state of the world."""


@dataclass(slots=True)
class MetaApp:
    """Our app, with the values that Meta's dashboard shows. `fields` are those it is subscribed to.

    `requires_proof` is the setting "Require App Secret".
    """

    app_id: str
    callback_url: str
    secret: str = field(repr=False)
    access_token: str = field(repr=False)
    system_user_token: str = field(repr=False)
    fields: frozenset[str] = FIELDS
    requires_proof: bool = False


@dataclass(slots=True)
class Number:
    """A number. A coexistence number (`is_on_biz_app`) is also used in the customer's app.

    `status` empty: what follows from its registration. One that `is_elsewhere` is connected to
    another API than ours.
    """

    number_id: str
    display: str
    is_on_biz_app: bool = False
    pin: str | None = field(default=None, repr=False)
    override: str = ""
    status: str = ""
    quality: str = "GREEN"
    verification: Verification = "VERIFIED"
    name_status: NameStatus = "APPROVED"
    is_elsewhere: bool = False
    is_registered: bool = False
    onboarded_at: float | None = None
    registrations: list[float] = field(default_factory=list)
    synced: set[str] = field(default_factory=set)
    profile: Body = field(default_factory=lambda: {"vertical": "OTHER"})

    @property
    def is_cloud_api(self) -> bool:
        is_linked = self.onboarded_at is not None
        return self.is_registered or (self.is_on_biz_app and is_linked)

    @property
    def digits(self) -> str:
        return re.sub(r"\D", "", self.display)

    def onboard(self, now: float) -> None:
        """Link the number, unless it is linked. The time for its syncs starts at the first link."""
        if self.onboarded_at is None:
            self.onboarded_at = now
            self.synced.clear()

    def offboard(self) -> None:
        self.onboarded_at = None
        self.is_registered = False


@dataclass(slots=True)
class Waba:
    """`numbers` and `templates` are oldest first; a template is what Graph answers about it."""

    waba_id: str
    business_id: str
    name: str
    numbers: list[Number]
    override: str = ""
    is_subscribed: bool = False
    is_shared: bool = False
    is_installed: bool = False
    is_disabled: bool = False
    is_deleted: bool = False
    templates: list[Body] = field(default_factory=list)

    @property
    def coexistence_numbers(self) -> list[Number]:
        return [number for number in self.numbers if number.is_on_biz_app]

    def share(self, now: float) -> None:
        self.is_shared = self.is_installed = True
        for number in self.numbers:
            number.onboard(now)

    def unsubscribe(self) -> None:
        self.is_subscribed = False
        self.override = ""

    def unshare(self) -> None:
        self.is_shared = False
        self.unsubscribe()


@dataclass(slots=True)
class World:
    """`deliver` sends a webhook. `now` returns seconds since 1970.

    `move_callback` sends later webhooks to another URL, if it answers the verify token as it must;
    else it returns what is wrong.
    """

    app: MetaApp
    deliver: Callable[[Body], object]
    move_callback: Callable[[str, str], Awaitable[str | None]]
    now: Callable[[], float]
    wabas: dict[str, Waba] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict, repr=False)
    tokens: dict[str, Token] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        scopes = ("business_management", MANAGEMENT, MESSAGING)
        own_grant = Grant("", PARTNER, scopes, targets=None)
        self.tokens[self.app.system_user_token] = Token(own_grant, self.now())

    def takes(self, body: Body) -> bool:
        """Return whether the app is subscribed to the field of this webhook."""
        return body["entry"][0]["changes"][0]["field"] in self.app.fields

    def send_webhook(self, body: Body) -> None:
        if self.takes(body):
            self.deliver(body)

    def existing_wabas(self) -> list[Waba]:
        return [waba for waba in self.wabas.values() if not waba.is_deleted]

    def waba(self, waba_id: str) -> Waba:
        """Return the WABA. Raise Unfit if it does not exist or is deleted."""
        waba = self.wabas.get(waba_id)
        if waba is None or waba.is_deleted:
            raise Unfit(f"WABA {waba_id} does not exist")
        return waba

    def find_number(self, number_id: str) -> tuple[Waba, Number] | None:
        """Return the number and its WABA, or None if it does not exist."""
        for waba in self.existing_wabas():
            for number in waba.numbers:
                if number.number_id == number_id:
                    return waba, number
        return None

    def find_template(self, template_id: str) -> tuple[Waba, Body] | None:
        """Return the template and its WABA, or None if it does not exist."""
        for waba in self.existing_wabas():
            for template in waba.templates:
                if template["id"] == template_id:
                    return waba, template
        return None

    def waba_of(self, object_id: str) -> Waba | None:
        """Return the WABA itself, or that of a number or a template; None if it is unknown."""
        if object_id in self.wabas:
            return self.wabas[object_id]
        found = self.find_number(object_id) or self.find_template(object_id)
        return found[0] if found else None

    def tokens_of(self, waba: Waba) -> list[Token]:
        """Return the tokens that were issued for the WABA or cover it, oldest first."""
        return [
            token
            for token in self.tokens.values()
            if token.grant.waba_id == waba.waba_id or token.covers(waba.waba_id, waba.business_id)
        ]
