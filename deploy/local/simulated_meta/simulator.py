"""The orders' HTTP, below `/simulator/`: what is ordered changes the world."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from deploy.local.simulated_meta import lifecycle
from deploy.local.simulated_meta.faults import Fault, Faults
from deploy.local.simulated_meta.graph import Graph
from deploy.local.simulated_meta.ledger import Ledger
from deploy.local.simulated_meta.orders import (
    EventOrder,
    RevokeOrder,
    UsageOrder,
    WabaOrder,
    WebhooksOrder,
)
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.signups import Onboardings, sign_up
from deploy.local.simulated_meta.world import Unfit, World
from deploy.local.simulated_meta.writing import write

Answer = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class Simulator:
    def __init__(
        self, world: World, graph: Graph, faults: Faults, ledger: Ledger, sender: Sender
    ) -> None:
        self._world = world
        self._graph = graph
        self._faults = faults
        self._ledger = ledger
        self._sender = sender

    def add_routes(self, router: web.UrlDispatcher) -> None:
        waba = "/simulator/wabas/{waba_id:[0-9]+}"
        router.add_post("/simulator/webhooks", _obeying(WebhooksOrder, self._send))
        router.add_get("/simulator/webhooks", self._sent)
        router.add_put(waba, _obeying(WabaOrder, self._put_waba))
        router.add_post(f"{waba}/events", _obeying(EventOrder, self._happen))
        router.add_post("/simulator/signups", _obeying(Onboardings, self._sign_up))
        router.add_post("/simulator/tokens/revoke", _obeying(RevokeOrder, self._revoke))
        router.add_post("/simulator/faults", _obeying(Fault, self._arm))
        router.add_delete("/simulator/faults", self._clear)
        router.add_put("/simulator/usage", _obeying(UsageOrder, self._use))
        router.add_get("/simulator/calls", self._calls)
        router.add_get("/simulator/secrets", self._secrets)

    async def _send(self, order: WebhooksOrder, _: web.Request) -> Answer:
        """Answers when each was tried once, with its status and seconds."""
        sent = await self._sender.send(order.posts(), order.signature)
        return {"sent": [asdict(one) for one in sent]}

    async def _sent(self, _: web.Request) -> web.Response:
        return web.json_response({"sent": self._sender.ledger()})

    async def _put_waba(self, order: WabaOrder, request: web.Request) -> Answer:
        waba_id = request.match_info["waba_id"]
        for said in order.numbers:
            taken = self._world.of_number(said.phone_number_id)
            if taken is not None and taken[0].waba_id != waba_id:
                raise Unfit(f"number {said.phone_number_id} is of WABA {taken[0].waba_id}")
        self._world.wabas[waba_id] = order.waba(waba_id)
        return {"waba_id": waba_id}

    async def _happen(self, order: EventOrder, request: web.Request) -> Answer:
        """Answers when its webhook was tried once."""
        waba = self._world.waba(request.match_info["waba_id"])
        reason = order.disconnection_reason
        body = lifecycle.webhook(self._world, waba, order.event, ban=order.ban_state, reason=reason)
        lifecycle.change(
            self._world, waba, order.event, ban=order.ban_state, is_disconnected=reason is not None
        )
        sent = await self._sender.send([write(body)], "right") if order.webhook else []
        return {"sent": [asdict(one) for one in sent]}

    async def _sign_up(self, order: Onboardings, _: web.Request) -> Answer:
        code, message = sign_up(self._world, order)
        return {"code": code, "message": message}

    async def _revoke(self, order: RevokeOrder, _: web.Request) -> Answer:
        waba = self._world.waba(order.waba_id)
        return {"revoked": lifecycle.revoke(self._world, waba, order.subcode)}

    async def _arm(self, order: Fault, _: web.Request) -> Answer:
        return {"armed": self._faults.arm(order)}

    async def _clear(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return web.json_response({"armed": 0})

    async def _use(self, order: UsageOrder, _: web.Request) -> Answer:
        self._graph.usage = self._graph.usage.model_copy(update=order.model_dump(exclude_none=True))
        return self._graph.usage.model_dump()

    async def _calls(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return _refused([{"type": "int", "loc": ["after"], "msg": "expected a whole number"}])
        return web.json_response({"calls": self._ledger.after(int(after))})

    async def _secrets(self, _: web.Request) -> web.Response:
        """All that must be in nobody's log: to be looked for there."""
        pins = {one.pin for waba in self._world.wabas.values() for one in waba.numbers if one.pin}
        app = self._world.app
        known = {app.secret, app.access_token, *self._world.tokens, *self._world.codes, *pins}
        return web.json_response({"secrets": sorted(known)})


def _obeying(
    model: type[M], obey: Callable[[M, web.Request], Awaitable[Answer]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            order = model.model_validate_json(await request.read())
            return web.json_response(await obey(order, request))
        except ValidationError as error:
            return _refused(error.errors(include_url=False, include_context=False))
        except Unfit as unfit:
            return _refused([{"type": "unfit", "loc": [], "msg": str(unfit)}])

    return handle


def _refused(errors: Any) -> web.Response:
    return web.json_response({"error": errors}, status=400)
