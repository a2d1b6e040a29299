"""Serve the HTTP routes that Meta calls, and answer each outcome with its status."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from services.ingress import short_form, signature
from services.ingress.metrics import IngressMetrics
from services.ingress.receiver import NotStored, Receiver
from shared.messages import WebhookKind

PATH = "/api/v1/whatsapp/webhook"
#: Meta's own limit is 3 MB (Webhooks overview, Apr 2026).
MAX_BODY_BYTES = 3_145_728
#: Seconds to read the rest of a body after the head of the request.
BODY_SECONDS = 5.0
RETRY_AFTER_SECONDS = "5"


class RequestRefused(Exception):
    """The ingress refuses the request. `status` goes to Meta, `reason` to the metric."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class WebhookRoutes:
    def __init__(
        self,
        receiver: Receiver,
        metrics: IngressMetrics,
        *,
        secrets: Sequence[bytes],
        verify_token: str,
    ) -> None:
        self._receiver = receiver
        self._metrics = metrics
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
        if query.get("hub.mode") != "subscribe" or not signature.matches_verify_token(
            token, self._verify_token
        ):
            return web.Response(status=403)
        return web.Response(text=query.get("hub.challenge", ""))

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 200 with an empty body, only after the webhook is durable."""
        try:
            await self._receive(request)
        except RequestRefused as refusal:
            self._metrics.refused.labels(refusal.reason).inc()
            return _refusal_response(refusal)
        return web.Response()

    async def receive_test(self, request: web.Request) -> web.Response:
        """Store a webhook in the short form, unsigned. Production does not have this route."""
        try:
            with self._reserved(request):
                body = await self._read(request)
                await self._store("test", "", short_form.expand(body))
        except short_form.Malformed as malformed:
            return web.json_response({"error": str(malformed)}, status=400)
        except RequestRefused as refusal:
            return _refusal_response(refusal)
        return web.Response()

    async def _receive(self, request: web.Request) -> None:
        header = request.headers.get(signature.HEADER)
        digest = signature.parse_header(header)
        if header is None or digest is None:
            raise RequestRefused(401, "signature_malformed" if header else "signature_missing")
        with self._reserved(request):
            body = await self._read(request)
            secret_index = signature.matching_secret(digest, body, self._secrets)
            if secret_index is None:
                raise RequestRefused(401, "signature_wrong")
            self._signed_with[secret_index].inc()
            await self._store("whatsapp", header, body)

    @contextmanager
    def _reserved(self, request: web.Request) -> Iterator[None]:
        """Reserve room for the body during the block.

        A body without a Content-Length reserves MAX_BODY_BYTES. Raise RequestRefused if the body is
        too large or there is no room.
        """
        size = request.content_length
        if size is None:
            size = MAX_BODY_BYTES
        elif size > MAX_BODY_BYTES:
            raise RequestRefused(413, "too_large")
        if not self._receiver.reserve(size):
            raise RequestRefused(503, "full")
        try:
            yield
        finally:
            self._receiver.release(size)

    async def _read(self, request: web.Request) -> bytes:
        try:
            if request.content.is_eof():  # a small body arrives with the head: no timer
                return await request.read()
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        except TimeoutError:
            raise RequestRefused(408, "body_late") from None
        except web.HTTPRequestEntityTooLarge:
            raise RequestRefused(413, "too_large") from None

    async def _store(self, kind: WebhookKind, header: str, body: bytes) -> None:
        try:
            await self._receiver.store(kind, header, body)
        except NotStored:
            raise RequestRefused(503, "not_stored") from None


def _refusal_response(refusal: RequestRefused) -> web.Response:
    response = web.Response(status=refusal.status)
    if refusal.status == 503:
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    if refusal.status in (408, 413):
        response.force_close()  # do not read the rest of the body
    return response


def create_app(routes: WebhookRoutes, *, with_test_route: bool) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get(PATH, routes.handshake, allow_head=False)
    app.router.add_post(PATH, routes.receive)
    if with_test_route:
        app.router.add_post(f"{PATH}/test", routes.receive_test)
    return app
