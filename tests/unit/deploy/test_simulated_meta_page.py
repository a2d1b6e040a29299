"""docs/simulated-meta.md names every order, every property of an order, and every call."""

import re
from pathlib import Path
from typing import cast, get_args

import aiohttp
import pytest
from pydantic import BaseModel

from deploy.local.simulated_meta import orders
from deploy.local.simulated_meta.app import create_app
from deploy.local.simulated_meta.calls import CallName
from deploy.local.simulated_meta.faults import Fault
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.signups import SignupOrder
from deploy.local.simulated_meta.world import MetaApp

PAGE = Path("docs/simulated-meta.md").read_text()
ORDERS: list[type[BaseModel]] = [*orders.Order.__subclasses__(), SignupOrder, Fault]


def _routes() -> list[str]:
    """Return the orders as the page writes them: `PUT wabas/{id}`."""
    sender = Sender(cast("aiohttp.ClientSession", None), [], "")  # it sends nothing
    app = create_app(sender, MetaApp("1", "", "", "", ""))
    found = {
        f"{route.method} {route.resource.canonical.removeprefix('/simulator/')}"
        for route in app.router.routes()
        if route.resource and route.resource.canonical.startswith("/simulator/")
        if route.method != "HEAD"
    }
    return sorted(re.sub(r"\{\w+\}", "{id}", order) for order in found)


@pytest.mark.parametrize("order", _routes())
def test_every_order_is_on_the_page(order: str) -> None:
    assert f"| `{order}" in PAGE


@pytest.mark.parametrize(
    "name",
    sorted({name for order in ORDERS for name in order.model_fields}),
)
def test_every_property_of_an_order_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", get_args(CallName))
def test_every_call_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE
