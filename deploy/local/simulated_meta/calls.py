"""The Graph calls that exist here: each a name, a route, and its rule over the world."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from deploy.local.simulated_meta import tokens, webhooks
from deploy.local.simulated_meta.access import Asked, seen_number, seen_waba
from deploy.local.simulated_meta.errors import GraphError, bad_parameter
from deploy.local.simulated_meta.nodes import Answer, number_node, paged, waba_node
from deploy.local.simulated_meta.world import Number, Waba, World

CallName = Literal[
    "exchange_code", "debug_token", "read_waba", "read_numbers", "read_subscriptions", "subscribe",
    "unsubscribe", "register", "deregister", "sync", "fetch_token", "read_number",
    "configure_number", "read_me",
]  # fmt: skip
DONE: Answer = {"success": True}
#: 10 requests a number in a moving window (Registration page).
REGISTER_LIMIT = 10
REGISTER_WINDOW_SECONDS = 72 * 3600
#: Both syncs, once each (Onboarding business app users, Sep 2026).
SYNC_SECONDS = 24 * 3600
MAX_OVERRIDE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Call:
    name: CallName
    method: str
    path: str
    run: Callable[[World, Asked], Answer]


def read_waba(world: World, asked: Asked) -> Answer:
    return waba_node(seen_waba(world, asked), asked.text("fields"))


def read_number(world: World, asked: Asked) -> Answer:
    waba, number = seen_number(world, asked)
    return number_node(world.app, waba, number, asked.text("fields"))


def read_numbers(world: World, asked: Asked) -> Answer:
    waba = seen_waba(world, asked)
    fields = asked.text("fields")
    nodes = [number_node(world.app, waba, number, fields) for number in reversed(waba.numbers)]
    return paged(nodes, asked)


def read_subscriptions(world: World, asked: Asked) -> Answer:
    waba = seen_waba(world, asked)
    app_id = world.app.app_id
    link = f"https://www.facebook.com/games/?app_id={app_id}"
    ours: dict[str, Any] = {
        "whatsapp_business_api_data": {"id": app_id, "link": link, "name": "Simulated app"}
    }
    if waba.override:
        ours["override_callback_uri"] = waba.override
    return {"data": [ours] if waba.is_subscribed else []}


def subscribe(world: World, asked: Asked) -> Answer:
    """Without a body it removes an override (Webhooks override page, Mar 2026)."""
    waba = seen_waba(world, asked)
    waba.override = _override(asked.params)
    waba.is_subscribed = True
    return DONE


def unsubscribe(world: World, asked: Asked) -> Answer:
    seen_waba(world, asked).unsubscribe()
    return DONE


def configure_number(world: World, asked: Asked) -> Answer:
    _, number = seen_number(world, asked)
    wanted = asked.params.get("webhook_configuration")
    try:
        wanted = json.loads(wanted) if isinstance(wanted, str) else wanted
    except ValueError:
        wanted = None
    if not isinstance(wanted, dict):
        raise bad_parameter("The parameter webhook_configuration is required.")
    number.override = _override(wanted)
    return DONE


def register(world: World, asked: Asked) -> Answer:
    """Every request counts against the limit; the first PIN is set, later ones must match it."""
    _, number = _messaging_number(world, asked)
    _refuse_coexistence(number)
    pin = asked.text("pin")
    if not re.fullmatch(r"[0-9]{6}", pin):
        raise bad_parameter("The parameter pin must be 6 digits.")
    now = world.now()
    recent = [at for at in number.registrations if at > now - REGISTER_WINDOW_SECONDS]
    if len(recent) >= REGISTER_LIMIT:
        raise GraphError(133016, "(#133016) Account register deregister rate limit exceeded")
    number.registrations = [*recent, now]
    if number.pin not in {None, pin}:
        raise GraphError(133005, "(#133005) Two step verification PIN mismatch")
    number.pin = pin
    number.is_registered = True
    return DONE


def deregister(world: World, asked: Asked) -> Answer:
    _, number = seen_number(world, asked)
    _refuse_coexistence(number)
    number.is_registered = False
    return DONE


def sync(world: World, asked: Asked) -> Answer:
    """Each kind once, within 24 h of the signup; what was asked for then comes as a webhook."""
    waba, number = _messaging_number(world, asked)
    kind = asked.text("sync_type")
    if kind not in webhooks.SYNCS:
        raise bad_parameter("The parameter sync_type must be smb_app_state_sync or history.")
    if not number.is_on_biz_app or number.onboarded_at is None:
        raise bad_parameter("The number is not linked to the WhatsApp Business app.")
    if kind in number.synced:
        raise GraphError(2593107, "(#2593107) Synchronization request limit exceeded")
    if world.now() > number.onboarded_at + SYNC_SECONDS:
        raise GraphError(2593108, "(#2593108) Synchronization request outside of the time window")
    number.synced.add(kind)
    if waba.is_subscribed:
        world.announce(webhooks.synced(waba.waba_id, number, kind, int(world.now())))
    request_id = f"{number.number_id}-{kind}-{int(world.now())}"
    return {"messaging_product": "whatsapp", "request_id": request_id}


def _messaging_number(world: World, asked: Asked) -> tuple[Waba, Number]:
    waba, number = seen_number(world, asked)
    if asked.text("messaging_product") != "whatsapp":
        raise bad_parameter("The parameter messaging_product is required.")
    return waba, number


def _refuse_coexistence(number: Number) -> None:
    """Never for these numbers (Onboarding business app users, Sep 2026)."""
    if number.is_on_biz_app:
        raise GraphError(
            100,
            "This number is used in the WhatsApp Business app and cannot be registered here.",
            subcode=2388012,
            title="Not for this number",
        )


def _override(wanted: Any) -> str:
    """The URL wanted; empty removes it."""
    url = str(wanted.get("override_callback_uri") or "")
    if len(url) > MAX_OVERRIDE_LENGTH:
        raise bad_parameter("override_callback_uri is longer than 200 characters.")
    if url and not wanted.get("verify_token"):
        raise bad_parameter("verify_token is required with override_callback_uri.")
    return url


_OBJECT = "/{object_id:[0-9]+}"
CALLS = (
    Call("exchange_code", "GET", "/oauth/access_token", tokens.exchange_code),
    Call("debug_token", "GET", "/debug_token", tokens.debug_token),
    Call("read_me", "GET", "/me", tokens.read_me),
    Call("fetch_token", "POST", f"{_OBJECT}/system_user_access_tokens", tokens.fetch_token),
    Call("read_numbers", "GET", f"{_OBJECT}/phone_numbers", read_numbers),
    Call("read_subscriptions", "GET", f"{_OBJECT}/subscribed_apps", read_subscriptions),
    Call("subscribe", "POST", f"{_OBJECT}/subscribed_apps", subscribe),
    Call("unsubscribe", "DELETE", f"{_OBJECT}/subscribed_apps", unsubscribe),
    Call("register", "POST", f"{_OBJECT}/register", register),
    Call("deregister", "POST", f"{_OBJECT}/deregister", deregister),
    Call("sync", "POST", f"{_OBJECT}/smb_app_data", sync),
    Call("configure_number", "POST", _OBJECT, configure_number),
    Call("read_waba", "GET", _OBJECT, read_waba),
)
READ_NUMBER = Call("read_number", "GET", _OBJECT, read_number)
