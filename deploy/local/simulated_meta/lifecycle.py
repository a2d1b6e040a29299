"""Events of a WABA after its signup: their effects, and the webhook of each."""

from datetime import UTC, datetime
from typing import Literal

from deploy.local.simulated_meta.webhooks import account_update, partner_update
from deploy.local.simulated_meta.world import Body, Number, Unfit, Waba, World

Event = Literal[
    "PARTNER_ADDED", "PARTNER_REMOVED", "PARTNER_APP_INSTALLED", "PARTNER_APP_UNINSTALLED",
    "ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED", "ACCOUNT_DELETED", "DISABLED_UPDATE",
]  # fmt: skip
BanState = Literal["DISABLE", "REINSTATE", "SCHEDULE_FOR_DISABLE"]
APP_REMOVED = 458


def revoke(world: World, waba: Waba, subcode: int) -> int:
    """Revoke the tokens of the WABA. Return how many were not revoked before."""
    tokens = [token for token in world.tokens_of(waba) if token.revoked_subcode is None]
    for token in tokens:
        token.revoked_subcode = subcode
    return len(tokens)


def apply_event(
    world: World,
    waba: Waba,
    event: Event,
    *,
    ban: BanState,
    is_disconnected: bool,
    number_id: str | None = None,
) -> None:
    """Change the WABA as the event says. A disconnection of one number (`number_id`) leaves the
    WABA shared."""
    match event:
        case "PARTNER_ADDED" | "PARTNER_APP_INSTALLED" | "ACCOUNT_RECONNECTED":
            waba.share(world.now())
        case "PARTNER_REMOVED" if is_disconnected and number_id is not None:
            disconnected_number(waba, number_id).offboard()
        case "PARTNER_REMOVED":
            waba.unshare()
            if is_disconnected:
                _offboard(waba)
        case "PARTNER_APP_UNINSTALLED":
            waba.is_installed = False
            waba.unsubscribe()
            revoke(world, waba, APP_REMOVED)
        case "ACCOUNT_OFFBOARDED":
            _offboard(waba)
        case "ACCOUNT_DELETED":
            waba.is_deleted = True
            waba.unshare()
        case "DISABLED_UPDATE" if ban != "SCHEDULE_FOR_DISABLE":
            waba.is_disabled = ban == "DISABLE"


def event_webhook(
    world: World,
    waba: Waba,
    event: Event,
    *,
    ban: BanState,
    reason: str | None,
    number_id: str | None = None,
) -> Body:
    """Return the webhook of the event.

    `reason` is the reason of a disconnection. Its webhook has shape A: its entry is the WABA, it
    names the number, and it has no waba_info. Raise Unfit if the WABA has no number.
    """
    now = int(world.now())
    match event:
        case "PARTNER_REMOVED" if reason:
            number = disconnected_number(waba, number_id)
            info = {"reason": reason, "initiated_by": "USER"}
            return account_update(
                waba, event, now, phone_number=number.digits, disconnection_info=info
            )
        case "PARTNER_ADDED" | "PARTNER_REMOVED":
            return partner_update(waba, event, now)
        case "PARTNER_APP_INSTALLED" | "PARTNER_APP_UNINSTALLED":
            return partner_update(waba, event, now, partner_app_id=world.app.app_id)
        case "DISABLED_UPDATE":
            date = datetime.fromtimestamp(now, UTC).strftime("%B %d, %Y")
            info = {"waba_ban_state": ban, "waba_ban_date": date}
            return account_update(waba, event, now, ban_info=info)
        case _:
            return account_update(waba, event, now)


def disconnected_number(waba: Waba, number_id: str | None) -> Number:
    """Return the number that a disconnection is of. Raise Unfit if there is none."""
    candidates = waba.coexistence_numbers or waba.numbers
    if number_id is not None:
        candidates = [number for number in waba.numbers if number.number_id == number_id]
    if not candidates:
        raise Unfit("there is no such number to be disconnected")
    return candidates[-1]


def _offboard(waba: Waba) -> None:
    for number in waba.coexistence_numbers:
        number.offboard()
