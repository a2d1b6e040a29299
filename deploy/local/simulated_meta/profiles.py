"""The business profile of a number, that its customers see in WhatsApp."""

from deploy.local.simulated_meta.access import GraphRequest, messaging_number, visible_number
from deploy.local.simulated_meta.errors import bad_parameter
from deploy.local.simulated_meta.nodes import Answer
from deploy.local.simulated_meta.world import World

FIELDS = (
    "about", "address", "description", "email", "profile_picture_url", "vertical", "websites",
)  # fmt: skip


def read(world: World, request: GraphRequest) -> Answer:
    """Return the fields asked for that have a value (Business profiles)."""
    _, number = visible_number(world, request)
    names = [name for name in request.text("fields").split(",") if name]
    for name in names:
        if name not in (*FIELDS, "messaging_product", "id"):
            raise bad_parameter(f"Tried accessing nonexisting field ({name})")
    profile = {name: number.profile[name] for name in names if name in number.profile}
    return {"data": [{**profile, "messaging_product": "whatsapp"}]}


def update(world: World, request: GraphRequest) -> Answer:
    _, number = messaging_number(world, request)
    number.profile |= {name: request.params[name] for name in FIELDS if name in request.params}
    return {"success": True}
