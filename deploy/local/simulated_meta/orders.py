"""The orders to the simulator: the JSON of each."""

import random
from base64 import b64decode
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from deploy.local.simulated_meta.lifecycle import BanState, Event
from deploy.local.simulated_meta.world import NameStatus, Number, Verification, Waba
from deploy.local.simulated_meta.writing import Signature, batched, write

Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,32}$")]
Pin = Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


def _is_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WebhooksOrder(Order):
    """Send webhooks. `bodies` are written as Meta writes them; `raw` (base64) is sent unchanged."""

    bodies: list[dict[str, Any]] = []
    raw: list[Annotated[str, AfterValidator(_is_base64)]] = []
    batch: int = Field(1, ge=1, le=1000)
    copies: int = Field(1, ge=1, le=100)
    shuffle: bool = False
    seed: int = 0
    signature: Signature = "right"

    def posts(self) -> list[bytes]:
        """Return the bodies of all POSTs, in order."""
        bodies = [write(body) for body in batched(self.bodies, self.batch)]
        posts = (bodies + [b64decode(raw) for raw in self.raw]) * self.copies
        if self.shuffle:
            random.Random(self.seed).shuffle(posts)
        return posts


class NumberOrder(Order):
    phone_number_id: Id
    display_phone_number: str
    is_on_biz_app: bool = False
    pin: Pin | None = None
    verification: Verification = "VERIFIED"
    name_status: NameStatus = "APPROVED"
    is_elsewhere: bool = False

    def number(self) -> Number:
        return Number(
            self.phone_number_id,
            self.display_phone_number,
            is_on_biz_app=self.is_on_biz_app,
            pin=self.pin,
            verification=self.verification,
            name_status=self.name_status,
            is_elsewhere=self.is_elsewhere,
        )


class WabaOrder(Order):
    """Create a WABA that is not shared yet. Its numbers are oldest first."""

    business_id: Id
    name: str = "Simulated account"
    numbers: list[NumberOrder] = []
    override_callback_uri: str | None = None

    def waba(self, waba_id: str) -> Waba:
        numbers = [number.number() for number in self.numbers]
        return Waba(
            waba_id,
            self.business_id,
            self.name,
            numbers,
            override=self.override_callback_uri or "",
            is_subscribed=self.override_callback_uri is not None,
        )


class EventOrder(Order):
    """Apply an event to a WABA.

    `ban_state` is for DISABLED_UPDATE, `disconnection_reason` is for PARTNER_REMOVED, of the number
    `phone_number_id` (else of the newest one on the app).
    """

    event: Event
    ban_state: BanState = "DISABLE"
    disconnection_reason: str | None = None
    phone_number_id: Id | None = None
    webhook: bool = True


class NumberStateOrder(Order):
    """Change what Meta says of a number; omitted fields stay. `status` empty: what follows from its
    registration. `webhook`: a decision on the name is told by phone_number_name_update."""

    status: Annotated[str, StringConstraints(pattern=r"^[A-Z_]{0,30}$")] | None = None
    quality: Literal["GREEN", "YELLOW", "RED", "UNKNOWN"] | None = None
    verification: Verification | None = None
    name_status: NameStatus | None = None
    webhook: bool = True


class SubscriptionOrder(Order):
    """Subscribe or unsubscribe our app, as somebody in Meta's tools may do."""

    is_subscribed: bool


class RevokeOrder(Order):
    waba_id: Id
    subcode: int = 460


class AppOrder(Order):
    """`requires_proof`: calls need an appsecret_proof (the app's setting "Require App Secret")."""

    requires_proof: bool


class LimitsOrder(Order):
    """Change the limits of calls. Omitted fields stay as they are."""

    app_calls: int | None = Field(None, ge=1)
    waba_calls: int | None = Field(None, ge=1)
    hour_seconds: float | None = Field(None, gt=0)
