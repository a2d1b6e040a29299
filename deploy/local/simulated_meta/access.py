"""Who calls, and what that caller may see."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.local.simulated_meta.errors import GraphError, dead_token, unknown_object
from deploy.local.simulated_meta.grants import MANAGEMENT, Token
from deploy.local.simulated_meta.world import Number, Waba, World


@dataclass(frozen=True, slots=True)
class Asked:
    """One Graph call: about which object, with which parameters, under which token."""

    method: str
    url: str
    object_id: str
    params: Mapping[str, Any] = field(repr=False)
    bearer: str = field(repr=False)

    def text(self, name: str) -> str:
        """The parameter as text, empty if absent."""
        value = self.params.get(name)
        return "" if value is None else str(value)


def proof_of(token: str, secret: str) -> str:
    """The appsecret_proof (Securing Graph API requests)."""
    return hmac.digest(secret.encode(), token.encode(), "sha256").hex()


def caller(world: World, asked: Asked) -> Token:
    """The token asked with; raises GraphError unless it lives and its proof is right."""
    if not asked.bearer:
        raise GraphError(104, "An access token is required to request this resource.")
    token = world.tokens.get(asked.bearer)
    if token is None:
        raise GraphError(190, "Invalid OAuth access token - Cannot parse access token")
    if subcode := token.fault(world.now()):
        raise dead_token(subcode)
    proof = proof_of(asked.bearer, world.app.secret)
    if not hmac.compare_digest(proof.encode(), asked.text("appsecret_proof").encode()):
        raise GraphError(100, "Invalid appsecret_proof provided in the API argument")
    return token


def seen_waba(world: World, asked: Asked) -> Waba:
    """The WABA asked about; raises GraphError unless the caller may manage it."""
    token = caller(world, asked)
    waba = world.wabas.get(asked.object_id)
    if waba is None:
        raise unknown_object(asked.method, asked.object_id)
    return _seen(token, asked, waba)


def seen_number(world: World, asked: Asked) -> tuple[Waba, Number]:
    """The number asked about and its WABA; raises GraphError as `seen_waba` does."""
    token = caller(world, asked)
    found = world.of_number(asked.object_id)
    if found is None:
        raise unknown_object(asked.method, asked.object_id)
    return _seen(token, asked, found[0]), found[1]


def _seen(token: Token, asked: Asked, waba: Waba) -> Waba:
    if waba.is_deleted or not waba.is_shared:
        raise unknown_object(asked.method, asked.object_id)
    if not token.covers(waba.waba_id, waba.business_id):
        if waba.business_id != token.grant.business_id:
            raise unknown_object(asked.method, asked.object_id)
        raise GraphError(200, "(#200) You do not have permission to access this object")
    if MANAGEMENT not in token.grant.scopes:
        raise GraphError(200, f"(#200) Requires {MANAGEMENT} permission to access this object")
    if waba.is_disabled:
        raise GraphError(368, "(#368) The account is temporarily blocked for policies violations")
    return waba
