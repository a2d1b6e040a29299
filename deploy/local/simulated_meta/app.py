"""Build the simulated Meta as one aiohttp application: Graph API, dialog and orders."""

import time
from collections.abc import Callable

from aiohttp import web

from deploy.local.simulated_meta.dialog import Dialog
from deploy.local.simulated_meta.faults import Faults
from deploy.local.simulated_meta.graph import Graph
from deploy.local.simulated_meta.ledger import CallLog
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.simulator import Simulator
from deploy.local.simulated_meta.world import MetaApp, World
from deploy.local.simulated_meta.writing import write

#: The key of the World, for code that runs this application in its own process.
WORLD = web.AppKey("world", World)


def create_app(
    sender: Sender, meta_app: MetaApp, *, now: Callable[[], float] = time.time
) -> web.Application:
    world = World(
        meta_app,
        deliver=lambda body: sender.send_in_background(write(body)),
        move_callback=sender.move,
        now=now,
    )
    faults, call_log = Faults(), CallLog()
    graph = Graph(world, faults, call_log)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app[WORLD] = world
    Simulator(world, graph, faults, call_log, sender).add_routes(app.router)
    Dialog(world).add_routes(app.router)
    # Last: it answers every other path below a version.
    graph.add_routes(app.router)
    return app
