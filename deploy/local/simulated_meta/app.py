"""The simulated Meta as one aiohttp application: the Graph API, the dialog and the orders."""

import time
from collections.abc import Callable

from aiohttp import web

from deploy.local.simulated_meta.dialog import Dialog
from deploy.local.simulated_meta.faults import Faults
from deploy.local.simulated_meta.graph import Graph
from deploy.local.simulated_meta.ledger import Ledger
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.simulator import Simulator
from deploy.local.simulated_meta.world import MetaApp, World
from deploy.local.simulated_meta.writing import write

#: What Meta knows, for whoever runs it in their own process.
WORLD = web.AppKey("world", World)


def create_app(
    sender: Sender, meta_app: MetaApp, *, now: Callable[[], float] = time.time
) -> web.Application:
    world = World(meta_app, lambda body: sender.send_behind(write(body)), now)
    faults, ledger = Faults(), Ledger()
    graph = Graph(world, faults, ledger)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app[WORLD] = world
    Simulator(world, graph, faults, ledger, sender).add_routes(app.router)
    Dialog(world).add_routes(app.router)
    # Last: it answers whatever is left below a version.
    graph.add_routes(app.router)
    return app
