"""What happens to a WABA after its signup, and the webhook that tells of it."""

from datetime import UTC, datetime
from typing import Literal

from deploy.local.simulated_meta.webhooks import about_account, about_partner
from deploy.local.simulated_meta.world import Body, Unfit, Waba, World

Event = Literal[
    "PARTNER_ADDED", "PARTNER_REMOVED", "PARTNER_APP_INSTALLED", "PARTNER_APP_UNINSTALLED",
    "ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED", "ACCOUNT_DELETED", "DISABLED_UPDATE",
]  # fmt: skip
BanState = Literal["DISABLE", "REINSTATE", "SCHEDULE_FOR_DISABLE"]
APP_REMOVED = 458


def revoke(world: World, waba: Waba, subcode: int) -> int:
    """Kill the tokens of the WABA; returns how many lived."""
    living = [token for token in world.tokens_of(waba) if token.dead is None]
    for token in living:
        token.dead = subcode
    return len(living)


def change(world: World, waba: Waba, event: Event, *, ban: BanState, is_disconnected: bool) -> None:
    match event:
        case "PARTNER_ADDED" | "PARTNER_APP_INSTALLED" | "ACCOUNT_RECONNECTED":
            waba.share(world.now())
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


def webhook(world: World, waba: Waba, event: Event, *, ban: BanState, reason: str | None) -> Body:
    """A disconnection is told as shape A: about the WABA, by its number, without waba_info.

    Raises Unfit if there is no number to tell of.
    """
    now = int(world.now())
    match event:
        case "PARTNER_REMOVED" if reason:
            if not waba.numbers:
                raise Unfit("a WABA without numbers cannot be disconnected")
            number = (waba.coexisting or waba.numbers)[-1]
            told = {"reason": reason, "initiated_by": "USER"}
            return about_account(
                waba, event, now, phone_number=number.digits, disconnection_info=told
            )
        case "PARTNER_ADDED" | "PARTNER_REMOVED":
            return about_partner(waba, event, now)
        case "PARTNER_APP_INSTALLED" | "PARTNER_APP_UNINSTALLED":
            return about_partner(waba, event, now, partner_app_id=world.app.app_id)
        case "DISABLED_UPDATE":
            date = datetime.fromtimestamp(now, UTC).strftime("%B %d, %Y")
            info = {"waba_ban_state": ban, "waba_ban_date": date}
            return about_account(waba, event, now, ban_info=info)
        case _:
            return about_account(waba, event, now)


def _offboard(waba: Waba) -> None:
    for number in waba.coexisting:
        number.offboard()
