"""Send a message: Meta accepts it, and tells its statuses by webhook. Nobody receives it."""

import re
import secrets

from deploy.local.simulated_meta.access import GraphRequest, caller, messaging_number
from deploy.local.simulated_meta.errors import GraphError, bad_parameter
from deploy.local.simulated_meta.grants import MESSAGING
from deploy.local.simulated_meta.nodes import Answer
from deploy.local.simulated_meta.webhooks import status_webhook
from deploy.local.simulated_meta.world import Waba, World

STATUSES = ("sent", "delivered")


def send(world: World, request: GraphRequest) -> Answer:
    """Accept the message, and send its statuses if the WABA is subscribed (Cloud API, Messages).

    A read mark or a typing indicator (`status: read`) is answered and has no effect.
    """
    waba, number = messaging_number(world, request)
    if MESSAGING not in caller(world, request).grant.scopes:
        raise GraphError(10, "(#10) Application does not have permission for this action")
    if not number.is_cloud_api:
        raise GraphError(133010, "(#133010) Account not registered")
    if request.text("status") == "read":
        if not request.text("message_id"):
            raise bad_parameter("The parameter message_id is required.")
        return {"success": True}
    recipient = request.text("to") or request.text("recipient")
    if not recipient:
        raise bad_parameter("The parameter to is required.")
    kind = request.text("type") or "text"
    if not isinstance(request.params.get(kind), dict):
        raise bad_parameter(f"The parameter {kind} is required.")
    if kind == "template":
        _check_template(waba, request)
    wa_id = re.sub(r"\D", "", recipient) or recipient
    message_id = f"wamid.{secrets.token_urlsafe(24)}"
    if waba.is_subscribed:
        for status in STATUSES:
            world.send_webhook(
                status_webhook(
                    waba,
                    number,
                    wa_id=wa_id,
                    message_id=message_id,
                    status=status,
                    time=int(world.now()),
                    tracker=request.text("biz_opaque_callback_data"),
                )
            )
    accepted = {"message_status": "accepted"} if kind == "template" else {}
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": recipient, "wa_id": wa_id}],
        "messages": [{"id": message_id, **accepted}],
    }


def _check_template(waba: Waba, request: GraphRequest) -> None:
    """Raise GraphError unless the WABA has the template in this language."""
    asked = request.params["template"]
    language = asked.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not any(
        (template["name"], template["language"]) == (asked.get("name"), code)
        for template in waba.templates
    ):
        raise GraphError(132001, "(#132001) Template name does not exist in the translation")
