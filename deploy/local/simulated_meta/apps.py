"""The calls about our app: its token, and where its webhooks are sent."""

import hmac
import json

from deploy.local.simulated_meta.access import GraphRequest
from deploy.local.simulated_meta.errors import GraphError, bad_parameter, unknown_object
from deploy.local.simulated_meta.nodes import Answer
from deploy.local.simulated_meta.world import FIELDS, World

OBJECT = "whatsapp_business_account"


def read_token(world: World, request: GraphRequest) -> Answer:
    """Return the app's token for its id and secret (Access tokens page, app tokens)."""
    check_app(world, request)
    return {"access_token": world.app.access_token, "token_type": "bearer"}


def check_app(world: World, request: GraphRequest) -> None:
    """Raise GraphError unless the request names the app's id and secret."""
    if request.text("client_id") != world.app.app_id:
        raise GraphError(100, "Error validating application. Invalid application ID.")
    if not hmac.compare_digest(request.text("client_secret").encode(), world.app.secret.encode()):
        raise GraphError(101, "Error validating client secret.")


def read_subscription(world: World, request: GraphRequest) -> Answer:
    _check_app_token(world, request)
    app = world.app
    if not app.fields:
        return {"data": []}
    fields = [{"name": name, "version": "v25.0"} for name in sorted(app.fields)]
    return {
        "data": [
            {"object": OBJECT, "callback_url": app.callback_url, "active": True, "fields": fields}
        ]
    }


async def subscribe(world: World, request: GraphRequest) -> Answer:
    """Send the named fields to the URL, once it has answered the verify token (App subscriptions).

    Webhooks of other fields are not sent from now on. Without `fields` they stay as they are.
    """
    _check_app_token(world, request)
    if request.text("object") != OBJECT:
        raise bad_parameter(f"object must be {OBJECT}")
    url, verify_token = request.text("callback_url"), request.text("verify_token")
    if not url or not verify_token:
        raise bad_parameter("callback_url and verify_token are required")
    fields = frozenset(_names(request.params.get("fields") or sorted(world.app.fields)))
    if unknown := fields - FIELDS:
        raise bad_parameter(f"Param fields must be one of Meta's: {', '.join(sorted(unknown))}")
    if fault := await world.move_callback(url, verify_token):
        raise GraphError(
            2200, f"(#2200) Callback verification failed with the following errors: {fault}"
        )
    world.app.callback_url = url
    world.app.fields = fields
    return {"success": True}


def unsubscribe(world: World, request: GraphRequest) -> Answer:
    """Send no webhook any more."""
    _check_app_token(world, request)
    world.app.fields = frozenset()
    return {"success": True}


def _names(fields: object) -> list[str]:
    """Return the names: at Meta a list, a list in JSON, or names with commas between."""
    if isinstance(fields, str):
        try:
            fields = json.loads(fields)
        except ValueError:
            return [name.strip() for name in str(fields).split(",")]
    return [str(name) for name in fields] if isinstance(fields, list) else [str(fields)]


def _check_app_token(world: World, request: GraphRequest) -> None:
    if not hmac.compare_digest(request.bearer.encode(), world.app.access_token.encode()):
        raise GraphError(15, "(#15) This method must be called with an app access_token.")
    if request.object_id != world.app.app_id:
        raise unknown_object(request.method, request.object_id)
