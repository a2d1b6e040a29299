"""The world as Meta knows it: WABAs, their numbers, who may see them; no HTTP."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deploy.local.simulated_meta.grants import MANAGEMENT, MESSAGING, Code, Grant, Token

Body = dict[str, Any]
#: Our own business portfolio: PARTNER_* webhooks have its id (account_update reference, Feb 2026).
PARTNER = "710000000000001"


class Unfit(ValueError):
    """An order that this world cannot obey."""


@dataclass(frozen=True, slots=True)
class MetaApp:
    """Our app, as its dashboard shows it."""

    app_id: str
    callback_url: str
    secret: str = field(repr=False)
    access_token: str = field(repr=False)
    system_user_token: str = field(repr=False)


@dataclass(slots=True)
class Number:
    """A coexistence number (`is_on_biz_app`) lives in the customer's app too."""

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
        """A window for the syncs opens when the number is linked, not at each signup."""
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
    def coexisting(self) -> list[Number]:
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
    """`announce` sends a webhook; `now` is in seconds since 1970."""

    app: MetaApp
    announce: Callable[[Body], object]
    now: Callable[[], float]
    wabas: dict[str, Waba] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict, repr=False)
    tokens: dict[str, Token] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        scopes = ("business_management", MANAGEMENT, MESSAGING)
        ours = Grant("", PARTNER, scopes, targets=None)
        self.tokens[self.app.system_user_token] = Token(ours, self.now())

    def living(self) -> list[Waba]:
        return [waba for waba in self.wabas.values() if not waba.is_deleted]

    def waba(self, waba_id: str) -> Waba:
        """Raises Unfit for what was never there, or is deleted."""
        waba = self.wabas.get(waba_id)
        if waba is None or waba.is_deleted:
            raise Unfit(f"there is no WABA {waba_id}")
        return waba

    def of_number(self, number_id: str) -> tuple[Waba, Number] | None:
        for waba in self.living():
            for number in waba.numbers:
                if number.number_id == number_id:
                    return waba, number
        return None

    def owner(self, object_id: str) -> str | None:
        """The business a WABA or a number belongs to."""
        found = self.of_number(object_id)
        waba = found[0] if found else self.wabas.get(object_id)
        return waba.business_id if waba else None

    def tokens_of(self, waba: Waba) -> list[Token]:
        """Oldest first: minted for the WABA, or covering it."""
        return [
            token
            for token in self.tokens.values()
            if token.grant.waba_id == waba.waba_id or token.covers(waba.waba_id, waba.business_id)
        ]
