"""The simulated Graph calls: each has a name, a route and a function."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from deploy.local.simulated_meta import (
    apps,
    businesses,
    messages,
    profiles,
    templates,
    tokens,
    webhooks,
)
from deploy.local.simulated_meta.access import (
    GraphRequest,
    messaging_number,
    visible_number,
    visible_waba,
)
from deploy.local.simulated_meta.errors import GraphError, bad_parameter
from deploy.local.simulated_meta.nodes import (
    Answer,
    number_node,
    paged,
    subscriptions,
    waba_node,
)
from deploy.local.simulated_meta.world import Number, World

CallName = Literal[
    "exchange_code", "debug_token", "read_waba", "read_numbers", "read_subscriptions", "subscribe",
    "unsubscribe", "register", "deregister", "sync", "fetch_token", "read_number",
    "configure_number", "read_me", "read_app_token", "read_app_subscription", "subscribe_app",
    "unsubscribe_app", "read_client_wabas", "read_owned_wabas", "read_templates",
    "create_template", "read_template", "update_template", "delete_template", "read_profile",
    "update_profile", "send_message",
]  # fmt: skip
DONE: Answer = {"success": True}
#: Requests per number in a moving window (Registration page).
REGISTER_LIMIT = 10
REGISTER_WINDOW_SECONDS = 72 * 3600
#: The time for both syncs, each once (Onboarding business app users, Sep 2026).
SYNC_SECONDS = 24 * 3600
MAX_OVERRIDE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Call:
    name: CallName
    method: str
    path: str
    run: Callable[[World, GraphRequest], Answer | Awaitable[Answer]]


def read_waba(world: World, request: GraphRequest) -> Answer:
    return waba_node(world.app, visible_waba(world, request), request.text("fields"))


def read_number(world: World, request: GraphRequest) -> Answer:
    waba, number = visible_number(world, request)
    return number_node(world.app, waba, number, request.text("fields"))


def read_numbers(world: World, request: GraphRequest) -> Answer:
    waba = visible_waba(world, request)
    fields = request.text("fields")
    nodes = [number_node(world.app, waba, number, fields) for number in reversed(waba.numbers)]
    return paged(nodes, request)


def read_subscriptions(world: World, request: GraphRequest) -> Answer:
    return subscriptions(world.app, visible_waba(world, request))


def subscribe(world: World, request: GraphRequest) -> Answer:
    """Subscribe the app. Without a body, remove an override (Webhooks override page, Mar 2026)."""
    waba = visible_waba(world, request)
    waba.override = _override(request.params)
    waba.is_subscribed = True
    return DONE


def unsubscribe(world: World, request: GraphRequest) -> Answer:
    visible_waba(world, request).unsubscribe()
    return DONE


def configure_number(world: World, request: GraphRequest) -> Answer:
    _, number = visible_number(world, request)
    config = request.params.get("webhook_configuration")
    try:
        config = json.loads(config) if isinstance(config, str) else config
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise bad_parameter("The parameter webhook_configuration is required.")
    number.override = _override(config)
    return DONE


def register(world: World, request: GraphRequest) -> Answer:
    """Register the number. Every request counts against the limit.

    The first request sets the PIN. Later requests must have the same PIN.
    """
    _, number = messaging_number(world, request)
    _refuse_coexistence(number)
    pin = request.text("pin")
    if not re.fullmatch(r"[0-9]{6}", pin):
        raise bad_parameter("The parameter pin must be 6 digits.")
    now = world.now()
    recent = [at for at in number.registrations if at > now - REGISTER_WINDOW_SECONDS]
    if len(recent) >= REGISTER_LIMIT:
        raise GraphError(133016, "(#133016) Account register deregister rate limit exceeded")
    number.registrations = [*recent, now]
    if number.verification == "NOT_VERIFIED":
        raise GraphError(133006, "(#133006) Phone number needs to be verified before registering")
    if number.name_status != "APPROVED":
        raise GraphError(
            100, "The display name of this number is not approved.", subcode=2388001,
            title="Name not approved",
        )  # fmt: skip
    if number.pin not in {None, pin}:
        raise GraphError(133005, "(#133005) Two step verification PIN mismatch")
    number.pin = pin
    number.is_registered = True
    return DONE


def deregister(world: World, request: GraphRequest) -> Answer:
    _, number = visible_number(world, request)
    _refuse_coexistence(number)
    number.is_registered = False
    return DONE


def sync(world: World, request: GraphRequest) -> Answer:
    """Start a sync: each kind once, within 24 h after the number was linked.

    The data comes as a webhook if the app is subscribed.
    """
    waba, number = messaging_number(world, request)
    kind = request.text("sync_type")
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
        world.send_webhook(webhooks.sync_webhook(waba.waba_id, number, kind, int(world.now())))
    request_id = f"{number.number_id}-{kind}-{int(world.now())}"
    return {"messaging_product": "whatsapp", "request_id": request_id}


def _refuse_coexistence(number: Number) -> None:
    """Raise GraphError for a coexistence number (Onboarding business app users, Sep 2026)."""
    if number.is_on_biz_app:
        raise GraphError(
            100,
            "This number is used in the WhatsApp Business app and cannot be registered here.",
            subcode=2388012,
            title="Not for this number",
        )


def _override(params: Any) -> str:
    """Return the override URL of the parameters. An empty URL removes the override."""
    url = str(params.get("override_callback_uri") or "")
    if len(url) > MAX_OVERRIDE_LENGTH:
        raise bad_parameter("override_callback_uri is longer than 200 characters.")
    if url and not params.get("verify_token"):
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
    Call("read_app_subscription", "GET", f"{_OBJECT}/subscriptions", apps.read_subscription),
    Call("subscribe_app", "POST", f"{_OBJECT}/subscriptions", apps.subscribe),
    Call("unsubscribe_app", "DELETE", f"{_OBJECT}/subscriptions", apps.unsubscribe),
    Call("read_client_wabas", "GET", f"{_OBJECT}/client_whatsapp_business_accounts",
         businesses.read_client_wabas),
    Call("read_owned_wabas", "GET", f"{_OBJECT}/owned_whatsapp_business_accounts",
         businesses.read_owned_wabas),
    Call("read_templates", "GET", f"{_OBJECT}/message_templates", templates.read_templates),
    Call("create_template", "POST", f"{_OBJECT}/message_templates", templates.create),
    Call("delete_template", "DELETE", f"{_OBJECT}/message_templates", templates.delete),
    Call("read_profile", "GET", f"{_OBJECT}/whatsapp_business_profile", profiles.read),
    Call("update_profile", "POST", f"{_OBJECT}/whatsapp_business_profile", profiles.update),
    Call("send_message", "POST", f"{_OBJECT}/messages", messages.send),
    Call("configure_number", "POST", _OBJECT, configure_number),
    Call("read_waba", "GET", _OBJECT, read_waba),
)  # fmt: skip
_READ_APP_TOKEN = Call("read_app_token", "GET", "/oauth/access_token", apps.read_token)
_READ_NUMBER = Call("read_number", "GET", _OBJECT, read_number)
_READ_TEMPLATE = Call("read_template", "GET", _OBJECT, templates.read)
_UPDATE_TEMPLATE = Call("update_template", "POST", _OBJECT, templates.update)


def meant(world: World, call: Call, request: GraphRequest) -> Call:
    """Return the call that is meant: some share a route with another."""
    match call.name:
        case "exchange_code" if request.text("grant_type") == "client_credentials":
            return _READ_APP_TOKEN
        case "read_waba" if world.find_number(request.object_id):
            return _READ_NUMBER
        case "read_waba" if world.find_template(request.object_id):
            return _READ_TEMPLATE
        case "configure_number" if world.find_template(request.object_id):
            return _UPDATE_TEMPLATE
    return call
