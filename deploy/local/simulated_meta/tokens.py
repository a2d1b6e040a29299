"""The calls about tokens: exchange a code, debug a token, fetch one without the customer."""

import hmac
import secrets
from typing import Any

from deploy.local.simulated_meta.access import GraphRequest, caller
from deploy.local.simulated_meta.apps import check_app
from deploy.local.simulated_meta.errors import (
    GraphError,
    bad_parameter,
    invalid_token,
    unknown_object,
)
from deploy.local.simulated_meta.grants import MANAGEMENT, MESSAGING, Code, Grant, Token
from deploy.local.simulated_meta.world import PARTNER, Waba, World

Answer = dict[str, Any]
#: What Meta names of some valid tokens, and nothing else (chatwoot #14690, 2026).
UNRELATED_SCOPES: tuple[str, ...] = ("business_management", "whatsapp_business_manage_events")


def issue_code(
    world: World, grant: Grant, *, app_id: str, seconds: float, redirect_uri: str = ""
) -> str:
    value = f"AQ{secrets.token_urlsafe(96)}"
    world.codes[value] = Code(app_id, grant, world.now(), seconds, redirect_uri)
    return value


def issue_token(world: World, grant: Grant) -> str:
    value = f"EAA{secrets.token_urlsafe(120)}"
    world.tokens[value] = Token(grant, world.now())
    return value


def exchange_code(world: World, request: GraphRequest) -> Answer:
    """Exchange a code for a token.

    A code can be used once, within 30 s, with the redirect_uri of the dialog (Embedded Signup
    implementation, Mar 2026).
    """
    check_app(world, request)
    code = world.codes.get(request.text("code"))
    if code is None or code.app_id != world.app.app_id:
        raise GraphError(100, "Invalid verification code format.")
    if code.is_used:
        raise GraphError(100, "This authorization code has been used.", subcode=36009)
    if world.now() > code.issued_at + code.seconds:
        raise GraphError(100, "This authorization code has expired.", subcode=36007)
    if request.text("redirect_uri") != code.redirect_uri:
        raise GraphError(
            100,
            "Error validating verification code. Please make sure your redirect_uri is identical to"
            " the one you used in the OAuth dialog request",
            subcode=36008,
        )
    code.is_used = True
    answer = {"access_token": issue_token(world, code.grant), "token_type": "bearer"}
    seconds = code.grant.expires_in_seconds
    return answer | ({"expires_in": seconds} if seconds else {})


def debug_token(world: World, request: GraphRequest) -> Answer:
    """Describe a token. For an invalid token the answer is 200 with `is_valid` false."""
    if not hmac.compare_digest(request.bearer.encode(), world.app.access_token.encode()):
        raise bad_parameter("You must provide an app access token")
    token = world.tokens.get(request.text("input_token"))
    if token is None:
        error = {"code": 190, "message": "Invalid OAuth access token."}
        return {"data": {"error": error, "is_valid": False, "scopes": []}}
    data: Answer = {
        "app_id": world.app.app_id,
        "type": "SYSTEM_USER",
        "application": "Simulated app",
        "data_access_expires_at": token.data_access_expires_at,
        "expires_at": token.expires_at,
        "issued_at": int(token.issued_at),
        "user_id": token.user_id,
    }
    if subcode := token.error_subcode(world.now()):
        refusal = invalid_token(subcode)
        error = {"code": refusal.code, "message": refusal.message, "subcode": subcode}
        return {"data": data | {"error": error, "is_valid": False, "scopes": []}}
    scopes, targets = UNRELATED_SCOPES, None
    if token.grant.tells_scopes:
        scopes, targets = token.grant.scopes, token.grant.targets
    granular = [_granular(world, scope, targets) for scope in scopes]
    return {"data": data | {"is_valid": True, "scopes": list(scopes), "granular_scopes": granular}}


def _granular(world: World, scope: str, targets: tuple[str, ...] | None) -> Answer:
    """Return the granular scope. A WABA that is no longer shared is not a target."""
    if targets is None:
        return {"scope": scope}
    wabas = world.wabas
    shared = [target for target in targets if target not in wabas or wabas[target].is_shared]
    return {"scope": scope, "target_ids": shared}


def fetch_token(world: World, request: GraphRequest) -> Answer:
    """Return the newest valid token that covers what the business shares, or a new one.

    Only we may call this, with the system token (Access tokens page, Apr 2026).
    """
    token = caller(world, request)
    if token.grant.business_id != PARTNER:
        raise GraphError(200, "(#200) Requires business_management permission of the partner")
    if request.text("fetch_only").lower() != "true":
        raise bad_parameter("fetch_only must be true")
    shared = [
        waba
        for waba in world.existing_wabas()
        if waba.business_id == request.object_id and waba.is_shared
    ]
    if not shared:
        raise unknown_object(request.method, request.object_id)
    installed = [waba for waba in shared if waba.is_installed]
    if not installed:
        raise GraphError(200, "(#200) The app is not installed by this business")
    return {"access_token": _fetch_or_issue(world, installed)}


def _fetch_or_issue(world: World, wabas: list[Waba]) -> str:
    for value, token in reversed(world.tokens.items()):
        is_valid = token.error_subcode(world.now()) is None
        if is_valid and all(token.covers(waba.waba_id, waba.business_id) for waba in wabas):
            return value
    targets = tuple(waba.waba_id for waba in wabas)
    first = wabas[0]
    grant = Grant(first.waba_id, first.business_id, (MANAGEMENT, MESSAGING), targets)
    return issue_token(world, grant)


def read_me(world: World, request: GraphRequest) -> Answer:
    """Describe the caller. Only business tokens have a client_business_id."""
    token = caller(world, request)
    if token.grant.business_id == PARTNER:
        raise GraphError(190, "This call needs a business integration system user token")
    names = request.text("fields").split(",")
    fields = {"client_business_id": token.grant.business_id, "name": "Simulated system user"}
    return {"id": token.user_id} | {name: fields[name] for name in names if name in fields}
