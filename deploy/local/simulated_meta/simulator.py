"""Serve the orders below `/simulator/`. They change the world of the simulated Meta."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from deploy.local.simulated_meta import lifecycle, webhooks
from deploy.local.simulated_meta.faults import Fault, Faults
from deploy.local.simulated_meta.graph import Graph
from deploy.local.simulated_meta.ledger import CallLog
from deploy.local.simulated_meta.orders import (
    AppOrder,
    EventOrder,
    LimitsOrder,
    NumberOrder,
    NumberStateOrder,
    RevokeOrder,
    SubscriptionOrder,
    WabaOrder,
    WebhooksOrder,
)
from deploy.local.simulated_meta.sender import Sender
from deploy.local.simulated_meta.signups import SignupOrder, sign_up
from deploy.local.simulated_meta.world import Unfit, World
from deploy.local.simulated_meta.writing import write

Answer = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class Simulator:
    def __init__(
        self, world: World, graph: Graph, faults: Faults, call_log: CallLog, sender: Sender
    ) -> None:
        self._world = world
        self._graph = graph
        self._faults = faults
        self._call_log = call_log
        self._sender = sender

    def add_routes(self, router: web.UrlDispatcher) -> None:
        waba = "/simulator/wabas/{waba_id:[0-9]+}"
        router.add_post("/simulator/webhooks", _order_handler(WebhooksOrder, self._send))
        router.add_get("/simulator/webhooks", self._list_sent)
        router.add_put(waba, _order_handler(WabaOrder, self._put_waba))
        router.add_post(f"{waba}/events", _order_handler(EventOrder, self._apply_event))
        router.add_post(f"{waba}/numbers", _order_handler(NumberOrder, self._add_number))
        router.add_put(f"{waba}/subscription", _order_handler(SubscriptionOrder, self._subscribe))
        router.add_put(
            "/simulator/numbers/{number_id:[0-9]+}",
            _order_handler(NumberStateOrder, self._put_number_state),
        )
        router.add_post("/simulator/signups", _order_handler(SignupOrder, self._sign_up))
        router.add_post("/simulator/tokens/revoke", _order_handler(RevokeOrder, self._revoke))
        router.add_post("/simulator/faults", _order_handler(Fault, self._arm_fault))
        router.add_delete("/simulator/faults", self._clear_faults)
        router.add_put("/simulator/app", _order_handler(AppOrder, self._set_app))
        router.add_put("/simulator/limits", _order_handler(LimitsOrder, self._set_limits))
        router.add_get("/simulator/calls", self._list_calls)
        router.add_get("/simulator/secrets", self._list_secrets)

    async def _send(self, order: WebhooksOrder, _: web.Request) -> Answer:
        """POST the webhooks. Answer after the first attempt of each with status and seconds."""
        sent = await self._sender.send(order.posts(), order.signature)
        return {"sent": [asdict(webhook) for webhook in sent]}

    async def _list_sent(self, _: web.Request) -> web.Response:
        return web.json_response({"sent": self._sender.sent()})

    async def _put_waba(self, order: WabaOrder, request: web.Request) -> Answer:
        waba_id = request.match_info["waba_id"]
        for number in order.numbers:
            found = self._world.find_number(number.phone_number_id)
            if found is not None and found[0].waba_id != waba_id:
                raise Unfit(f"number {number.phone_number_id} belongs to WABA {found[0].waba_id}")
        self._world.wabas[waba_id] = order.waba(waba_id)
        return {"waba_id": waba_id}

    async def _apply_event(self, order: EventOrder, request: web.Request) -> Answer:
        """Apply the event. Answer after the first attempt to send its webhook."""
        waba = self._world.waba(request.match_info["waba_id"])
        reason = order.disconnection_reason
        body = lifecycle.event_webhook(
            self._world, waba, order.event, ban=order.ban_state, reason=reason,
            number_id=order.phone_number_id,
        )  # fmt: skip
        lifecycle.apply_event(
            self._world, waba, order.event, ban=order.ban_state, is_disconnected=reason is not None,
            number_id=order.phone_number_id,
        )  # fmt: skip
        is_sent = order.webhook and self._world.takes(body)
        sent = await self._sender.send([write(body)], "right") if is_sent else []
        return {"sent": [asdict(webhook) for webhook in sent]}

    async def _subscribe(self, order: SubscriptionOrder, request: web.Request) -> Answer:
        waba = self._world.waba(request.match_info["waba_id"])
        waba.is_subscribed = order.is_subscribed
        return {"is_subscribed": waba.is_subscribed}

    async def _put_number_state(self, order: NumberStateOrder, request: web.Request) -> Answer:
        number_id = request.match_info["number_id"]
        found = self._world.find_number(number_id)
        if found is None:
            raise Unfit(f"number {number_id} does not exist")
        waba, number = found
        changes = order.model_dump(exclude_none=True, exclude={"webhook"})
        for name, value in changes.items():
            setattr(number, name, value)
        if order.webhook and order.name_status in webhooks.NAME_DECISIONS:
            now = int(self._world.now())
            self._world.send_webhook(webhooks.name_webhook(waba, number, now))
        return {"number_id": number_id}

    async def _add_number(self, order: NumberOrder, request: web.Request) -> Answer:
        """Add a number to a WABA that exists. Meta tells nobody of it."""
        waba = self._world.waba(request.match_info["waba_id"])
        if self._world.find_number(order.phone_number_id) is not None:
            raise Unfit(f"number {order.phone_number_id} exists already")
        waba.numbers.append(order.number())
        return {"number_id": order.phone_number_id}

    async def _sign_up(self, order: SignupOrder, _: web.Request) -> Answer:
        code, message = sign_up(self._world, order)
        return {"code": code, "message": message}

    async def _revoke(self, order: RevokeOrder, _: web.Request) -> Answer:
        waba = self._world.waba(order.waba_id)
        return {"revoked": lifecycle.revoke(self._world, waba, order.subcode)}

    async def _arm_fault(self, order: Fault, _: web.Request) -> Answer:
        return {"armed": self._faults.arm(order)}

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return web.json_response({"armed": 0})

    async def _set_app(self, order: AppOrder, _: web.Request) -> Answer:
        self._world.app.requires_proof = order.requires_proof
        return order.model_dump()

    async def _set_limits(self, order: LimitsOrder, _: web.Request) -> Answer:
        usage = self._graph.usage
        usage.limits = replace(usage.limits, **order.model_dump(exclude_none=True))
        return asdict(usage.limits)

    async def _list_calls(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return _refused([{"type": "int", "loc": ["after"], "msg": "expected a whole number"}])
        return web.json_response({"calls": self._call_log.after(int(after))})

    async def _list_secrets(self, _: web.Request) -> web.Response:
        """Answer with every secret. A test searches logs for them."""
        numbers = (number for waba in self._world.wabas.values() for number in waba.numbers)
        pins = {number.pin for number in numbers if number.pin}
        app = self._world.app
        secrets = {app.secret, app.access_token, *self._world.tokens, *self._world.codes, *pins}
        return web.json_response({"secrets": sorted(secrets)})


def _order_handler(
    model: type[M], execute: Callable[[M, web.Request], Awaitable[Answer]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            order = model.model_validate_json(await request.read())
            return web.json_response(await execute(order, request))
        except ValidationError as error:
            return _refused(error.errors(include_url=False, include_context=False))
        except Unfit as unfit:
            return _refused([{"type": "unfit", "loc": [], "msg": str(unfit)}])

    return handle


def _refused(errors: Any) -> web.Response:
    return web.json_response({"error": errors}, status=400)
