"""The orders to the simulator: the JSON of each."""

import random
from base64 import b64decode
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from deploy.local.simulated_meta.lifecycle import BanState, Event
from deploy.local.simulated_meta.world import Number, Waba
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


class WabaOrder(Order):
    """Create a WABA that is not shared yet. Its numbers are oldest first."""

    business_id: Id
    name: str = "Simulated account"
    numbers: list[NumberOrder] = []
    override_callback_uri: str | None = None

    def waba(self, waba_id: str) -> Waba:
        numbers = [
            Number(
                number.phone_number_id,
                number.display_phone_number,
                is_on_biz_app=number.is_on_biz_app,
                pin=number.pin,
            )
            for number in self.numbers
        ]
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

    `ban_state` is for DISABLED_UPDATE, `disconnection_reason` is for PARTNER_REMOVED.
    """

    event: Event
    ban_state: BanState = "DISABLE"
    disconnection_reason: str | None = None
    webhook: bool = True


class RevokeOrder(Order):
    waba_id: Id
    subcode: int = 460


class UsageOrder(Order):
    """Change the usage figures. Omitted fields stay as they are."""

    app: int | None = Field(None, ge=0)
    business: int | None = Field(None, ge=0)
    minutes: int | None = Field(None, ge=0)
