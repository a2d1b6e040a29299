"""Serve the HTTP routes that Meta calls, and answer each outcome with its status."""

import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import web

from services.ingress import short_form, signature
from services.ingress.bodies import MAX_BODY_BYTES, BodyLate, BodyTooLarge, read_body
from services.ingress.byte_budget import BudgetSpent, ByteBudget
from services.ingress.metrics import IngressMetrics
from services.ingress.receiver import NotStored, Receiver
from shared.addresses import ClientAddresses
from shared.limits import Limit, Limiter
from shared.messages import WebhookKind

PATH = "/api/v1/whatsapp/webhook"
RETRY_LATER: Mapping[str, str] = {"Retry-After": "5"}


class RequestRefused(Exception):
    """The ingress refuses the request. `status` goes to Meta, `reason` to the metric."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        super().__init__(reason)


class Strangers:
    """Limit requests without a right signature, by the address they come from."""

    def __init__(self, addresses: ClientAddresses, limiter: Limiter, *, per_address: int) -> None:
        self.address_of = addresses.of
        self._limiter = limiter
        self._limit = Limit("address", per_address)

    async def count(self, request: web.Request) -> None:
        """Count the request. Raise RequestRefused if it is over the limit of its address."""
        over = await self._limiter.count(self._limit, self.address_of(request))
        if over is not None:
            raise RequestRefused(429, "limited", over.headers())

    async def refusal(
        self, request: web.Request, reason: str, *, status: int = 401
    ) -> RequestRefused:
        """Count the request. Return its refusal: 429 if it is over the limit of its address."""
        try:
            await self.count(request)
        except RequestRefused as limited:
            return limited
        return RequestRefused(status, reason)


class WebhookRoutes:
    def __init__(
        self,
        receiver: Receiver,
        metrics: IngressMetrics,
        strangers: Strangers,
        *,
        secrets: Sequence[bytes],
        verify_token: str,
    ) -> None:
        self._receiver = receiver
        self._metrics = metrics
        self._strangers = strangers
        self._budget = ByteBudget()
        metrics.bytes_in_flight.set_function(lambda: self._budget.bytes)
        self._loop = asyncio.get_running_loop()
        self._next_note_at = 0.0
        self._secrets = secrets
        self._verify_token = verify_token
        names = ["current", *(f"previous_{n}" for n in range(1, len(secrets)))]
        self._signed_with = [metrics.secret_used.labels(name) for name in names]

    async def handshake(self, request: web.Request) -> web.Response:
        """Echo the challenge as text if the verify token is right; else answer 403.

        Meta calls this when the callback URL is set.
        """
        query = request.query
        token = query.get("hub.verify_token", "")
        if query.get("hub.mode") == "subscribe" and signature.matches_verify_token(
            token, self._verify_token
        ):
            return web.Response(text=query.get("hub.challenge", ""))
        return self._refuse(
            await self._strangers.refusal(request, "verify_token_wrong", status=403)
        )

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 200 with an empty body, only after the webhook is durable."""
        try:
            await self._receive(request)
        except RequestRefused as refusal:
            return self._refuse(refusal)
        return web.Response()

    async def receive_test(self, request: web.Request) -> web.Response:
        """Store a webhook in the short form, unsigned. Production does not have this route."""
        try:
            await self._strangers.count(request)
            body = await self._read(request)
            await self._store("test", "", short_form.expand(body))
        except short_form.Malformed as malformed:
            return web.json_response({"error": str(malformed)}, status=400)
        except RequestRefused as refusal:
            return self._refuse(refusal)
        return web.Response()

    async def _receive(self, request: web.Request) -> None:
        header = request.headers.get(signature.HEADER)
        digest = signature.parse_header(header)
        if header is None or digest is None:
            reason = "signature_malformed" if header else "signature_missing"
            raise await self._strangers.refusal(request, reason)
        body = await self._read(request)
        secret_index = signature.matching_secret(digest, body, self._secrets)
        if secret_index is None:
            raise await self._strangers.refusal(request, "signature_wrong")
        self._signed_with[secret_index].inc()
        self._note_signer(request)
        await self._store("whatsapp", header, body)

    async def _read(self, request: web.Request) -> bytes:
        """Return the body. Raise RequestRefused.

        Its bytes count as unverified until it is complete: then the caller checks its signature
        before anything else runs.
        """
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise RequestRefused(413, "too_large")
        if request.content.is_eof():  # a small body arrives with the head: no timer
            return await request.read()
        try:
            with self._budget.unverified(self._strangers.address_of(request)) as arrived:
                return await read_body(request, arrived)
        except BodyLate:
            raise RequestRefused(408, "body_late") from None
        except BodyTooLarge:
            raise RequestRefused(413, "too_large") from None
        except ConnectionError:  # nobody is there to read the answer
            raise RequestRefused(400, "cut_off") from None
        except BudgetSpent:
            raise RequestRefused(503, "full", RETRY_LATER) from None

    def _note_signer(self, request: web.Request) -> None:
        """Remember an address that signs; one a second at most, because it costs time."""
        now = self._loop.time()
        if now >= self._next_note_at:
            self._next_note_at = now + 1.0
            self._budget.signed(self._strangers.address_of(request))

    async def _store(self, kind: WebhookKind, header: str, body: bytes) -> None:
        try:
            with self._budget.verified(len(body)):
                await self._receiver.store(kind, header, body)
        except BudgetSpent:
            raise RequestRefused(503, "full", RETRY_LATER) from None
        except NotStored:
            raise RequestRefused(503, "not_stored", RETRY_LATER) from None

    def _refuse(self, refusal: RequestRefused) -> web.Response:
        """Count the refusal and return its response. Close a connection whose body is not read, and
        a stranger's."""
        self._metrics.refused.labels(refusal.reason).inc()
        response = web.Response(status=refusal.status, headers=refusal.headers)
        if refusal.reason != "not_stored":
            response.force_close()
        return response


def create_app(routes: WebhookRoutes, *, with_test_route: bool) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get(PATH, routes.handshake, allow_head=False)
    app.router.add_post(PATH, routes.receive)
    if with_test_route:
        app.router.add_post(f"{PATH}/test", routes.receive_test)
    return app
