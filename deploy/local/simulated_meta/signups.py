"""Simulate a customer's Embedded Signup: return its code and the browser's message."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.local.simulated_meta.grants import CODE_SECONDS, MANAGEMENT, MESSAGING, Grant
from deploy.local.simulated_meta.tokens import issue_code
from deploy.local.simulated_meta.webhooks import partner_update
from deploy.local.simulated_meta.world import Unfit, Waba, World

Finish = Literal["FINISH", "FINISH_ONLY_WABA", "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"]
Message = dict[str, Any]


class SignupOrder(BaseModel):
    """Finish a signup.

    `also` are other WABAs that the customer chose in the same dialog. `grants` are the WABAs that
    the token covers: the signup's own, all of its business, none, or the listed ids. `app_id` is
    the id of another app.
    """

    model_config = ConfigDict(extra="forbid")

    waba_id: str
    event: Finish
    also: list[str] = []
    grants: Literal["target", "all", "none"] | list[str] = "target"
    scopes: list[str] = [MANAGEMENT, MESSAGING]
    expires_in_seconds: int = Field(0, ge=0)
    tells_scopes: bool = True
    data_access_seconds: int = Field(0, ge=0)
    redirect_uri: str = ""
    app_id: str | None = None
    code_seconds: float = Field(CODE_SECONDS, ge=0)
    webhooks: bool = True


def possible_finishes(waba: Waba) -> list[Finish]:
    """Return the ways a signup with this WABA can end."""
    ends: list[Finish] = ["FINISH_ONLY_WABA"]
    if len(waba.coexistence_numbers) < len(waba.numbers):
        ends.insert(0, "FINISH")
    if waba.coexistence_numbers:
        ends.append("FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING")
    return ends


def sign_up(world: World, signup: SignupOrder) -> tuple[str, Message]:
    """Finish the signup. Return its code and the browser's message.

    The granted WABAs are shared with our app, unless the signup is for another app. Raise Unfit if
    the WABA does not exist, or if its signup cannot end as ordered.
    """
    waba = world.waba(signup.waba_id)
    also = [world.waba(waba_id).waba_id for waba_id in signup.also]
    if signup.event not in possible_finishes(waba):
        raise Unfit(f"a signup with this WABA cannot end as {signup.event}")
    grant = _grant(waba, signup)
    app_id = signup.app_id or world.app.app_id
    if app_id == world.app.app_id:
        for other in world.existing_wabas():
            if other is waba or other.waba_id in (grant.targets or ()):
                other.share(world.now())
        if signup.webhooks:
            world.send_webhook(partner_update(waba, "PARTNER_ADDED", int(world.now())))
    code = issue_code(
        world,
        grant,
        app_id=app_id,
        seconds=signup.code_seconds,
        redirect_uri=signup.redirect_uri,
    )
    ids = _ids(waba, signup.event)
    if also:  # then the message names them all, and none of them alone
        ids = {"waba_ids": [waba.waba_id, *also], "business_id": waba.business_id}
    return code, _message(signup.event, ids)


def cancel_message() -> Message:
    return _message("CANCEL", {"current_step": "PHONE_NUMBER_SETUP"})


def _grant(waba: Waba, signup: SignupOrder) -> Grant:
    targets: tuple[str, ...] | None
    match signup.grants:
        case "target":
            targets = (waba.waba_id, *signup.also)
        case "all":
            targets = None
        case "none":
            targets = ()
        case ids:
            targets = tuple(ids)
    scopes = tuple(signup.scopes)
    return Grant(
        waba.waba_id, waba.business_id, scopes, targets, signup.expires_in_seconds,
        signup.tells_scopes, signup.data_access_seconds,
    )  # fmt: skip


def _ids(waba: Waba, event: Finish) -> dict[str, Any]:
    """Return the ids in the message.

    Coexistence has only the WABA id (Onboarding business app users, Sep 2026).
    """
    if event == "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING":
        return {"waba_id": waba.waba_id}
    ids = {"waba_id": waba.waba_id, "business_id": waba.business_id}
    if event == "FINISH_ONLY_WABA":
        return ids
    newest = next(number for number in reversed(waba.numbers) if not number.is_on_biz_app)
    return {"phone_number_id": newest.number_id, **ids}


def _message(event: str, data: dict[str, Any]) -> Message:
    return {"type": "WA_EMBEDDED_SIGNUP", "event": event, "data": data, "version": 3}
