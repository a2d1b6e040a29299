"""The state of the simulated Meta: WABAs, numbers, codes and tokens. No HTTP."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deploy.local.simulated_meta.grants import MANAGEMENT, MESSAGING, Code, Grant, Token

Body = dict[str, Any]
#: Our own business portfolio. PARTNER_* webhooks have its id (account_update reference, Feb 2026).
PARTNER = "710000000000001"


class Unfit(ValueError):
    """The order is impossible in the present state of the world."""


@dataclass(frozen=True, slots=True)
class MetaApp:
    """Our app, with the values that Meta's dashboard shows."""

    app_id: str
    callback_url: str
    secret: str = field(repr=False)
    access_token: str = field(repr=False)
    system_user_token: str = field(repr=False)


@dataclass(slots=True)
class Number:
    """A number. A coexistence number (`is_on_biz_app`) is also used in the customer's app."""

    number_id: str
    display: str
    is_on_biz_app: bool = False
    pin: str | None = field(default=None, repr=False)
    override: str = ""
    is_registered: bool = False
    onboarded_at: float | None = None
    registrations: list[float] = field(default_factory=list)
    synced: set[str] = field(default_factory=set)

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
    """`numbers` are oldest first."""

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
    """`send_webhook` sends a webhook; `now` returns seconds since 1970."""

    app: MetaApp
    send_webhook: Callable[[Body], object]
    now: Callable[[], float]
    wabas: dict[str, Waba] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict, repr=False)
    tokens: dict[str, Token] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        scopes = ("business_management", MANAGEMENT, MESSAGING)
        own_grant = Grant("", PARTNER, scopes, targets=None)
        self.tokens[self.app.system_user_token] = Token(own_grant, self.now())

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

    def owner_business(self, object_id: str) -> str | None:
        """Return the business that owns a WABA or a number, or None if it is unknown."""
        found = self.find_number(object_id)
        waba = found[0] if found else self.wabas.get(object_id)
        return waba.business_id if waba else None

    def tokens_of(self, waba: Waba) -> list[Token]:
        """Return the tokens that were issued for the WABA or cover it, oldest first."""
        return [
            token
            for token in self.tokens.values()
            if token.grant.waba_id == waba.waba_id or token.covers(waba.waba_id, waba.business_id)
        ]
