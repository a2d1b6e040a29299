"""Find the caller of a Graph request, and check what the caller may see."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.local.simulated_meta.errors import (
    GraphError,
    bad_parameter,
    invalid_token,
    unknown_object,
)
from deploy.local.simulated_meta.grants import MANAGEMENT, Token
from deploy.local.simulated_meta.world import Number, Waba, World


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """One Graph request: the object, the parameters and the token."""

    method: str
    url: str
    object_id: str
    params: Mapping[str, Any] = field(repr=False)
    bearer: str = field(repr=False)

    def text(self, name: str) -> str:
        """Return the parameter as text, or an empty text if it is absent."""
        value = self.params.get(name)
        return "" if value is None else str(value)

    def of(self, object_id: str) -> "GraphRequest":
        """Return the same request about another object."""
        return replace(self, object_id=object_id)


def proof_of(token: str, secret: str) -> str:
    """Return the appsecret_proof (Securing Graph API requests)."""
    return hmac.digest(secret.encode(), token.encode(), "sha256").hex()


def caller(world: World, request: GraphRequest) -> Token:
    """Return the token of the request. Raise GraphError unless it and its proof are valid."""
    if not request.bearer:
        raise GraphError(104, "An access token is required to request this resource.")
    token = world.tokens.get(request.bearer)
    if token is None:
        raise GraphError(190, "Invalid OAuth access token - Cannot parse access token")
    if subcode := token.error_subcode(world.now()):
        raise invalid_token(subcode)
    _check_proof(world, request)
    return token


def _check_proof(world: World, request: GraphRequest) -> None:
    """Raise GraphError for a wrong proof, or for none if the app requires one ("Require App
    Secret" in the app's advanced settings)."""
    given = request.text("appsecret_proof")
    if not given:
        if world.app.requires_proof:
            raise GraphError(100, "API calls from the server require an appsecret_proof argument")
        return
    proof = proof_of(request.bearer, world.app.secret)
    if not hmac.compare_digest(proof.encode(), given.encode()):
        raise GraphError(100, "Invalid appsecret_proof provided in the API argument")


def visible_waba(world: World, request: GraphRequest) -> Waba:
    """Return the WABA of the request. Raise GraphError unless the caller may manage it."""
    token = caller(world, request)
    waba = world.wabas.get(request.object_id)
    if waba is None:
        raise unknown_object(request.method, request.object_id)
    _check_access(token, request, waba)
    return waba


def visible_number(world: World, request: GraphRequest) -> tuple[Waba, Number]:
    """Return the number of the request and its WABA. Raise GraphError as `visible_waba` does."""
    token = caller(world, request)
    found = world.find_number(request.object_id)
    if found is None:
        raise unknown_object(request.method, request.object_id)
    waba, number = found
    _check_access(token, request, waba)
    return waba, number


def messaging_number(world: World, request: GraphRequest) -> tuple[Waba, Number]:
    """Return what `visible_number` does. Raise GraphError unless the product is WhatsApp."""
    waba, number = visible_number(world, request)
    if request.text("messaging_product") != "whatsapp":
        raise bad_parameter("The parameter messaging_product is required.")
    return waba, number


def _check_access(token: Token, request: GraphRequest, waba: Waba) -> None:
    """Raise GraphError unless the token may manage the WABA."""
    if waba.is_deleted or not waba.is_shared:
        raise unknown_object(request.method, request.object_id)
    if not token.covers(waba.waba_id, waba.business_id):
        if waba.business_id != token.grant.business_id:
            raise unknown_object(request.method, request.object_id)
        raise GraphError(200, "(#200) You do not have permission to access this object")
    if MANAGEMENT not in token.grant.scopes:
        raise GraphError(200, f"(#200) Requires {MANAGEMENT} permission to access this object")
    if waba.is_disabled:
        raise GraphError(368, "(#368) The account is temporarily blocked for policies violations")
