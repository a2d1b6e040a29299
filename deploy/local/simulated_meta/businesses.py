"""The calls about a business portfolio: which WABAs it owns, and which are shared with it."""

from deploy.local.simulated_meta.access import GraphRequest, caller
from deploy.local.simulated_meta.errors import unknown_object
from deploy.local.simulated_meta.nodes import Answer, paged, waba_node
from deploy.local.simulated_meta.world import PARTNER, Waba, World


def read_client_wabas(world: World, request: GraphRequest) -> Answer:
    """List the WABAs that customers share with our business, newest first (Manage accounts).

    Only our own system user may ask.
    """
    if caller(world, request).grant.business_id != PARTNER or request.object_id != PARTNER:
        raise unknown_object(request.method, request.object_id)
    return _listed(world, request, [waba for waba in world.existing_wabas() if waba.is_shared])


def read_owned_wabas(world: World, request: GraphRequest) -> Answer:
    """List the WABAs of the caller's business that its token covers. We own none ourselves."""
    token = caller(world, request)
    if token.grant.business_id != request.object_id:
        raise unknown_object(request.method, request.object_id)
    owned = [
        waba
        for waba in world.existing_wabas()
        if waba.business_id == request.object_id and token.covers(waba.waba_id, waba.business_id)
    ]
    return _listed(world, request, owned)


def _listed(world: World, request: GraphRequest, wabas: list[Waba]) -> Answer:
    fields = request.text("fields")
    return paged([waba_node(world.app, waba, fields) for waba in reversed(wabas)], request)
