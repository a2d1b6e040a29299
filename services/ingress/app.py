"""The door's HTTP: what Meta calls, and what each outcome is answered with."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from services.ingress import signature, staging
from services.ingress.metrics import IngressMetrics
from services.ingress.receiver import NotStored, Receiver
from shared.messages import WebhookKind

PATH = "/api/v1/whatsapp/webhook"
#: Meta's own limit is 3 MB (Webhooks overview, Apr 2026).
MAX_BODY_BYTES = 3_145_728
#: From the head of a request to the last byte of its body.
BODY_SECONDS = 5.0
RETRY_AFTER_SECONDS = "5"


class RequestRefused(Exception):
    """The request is not taken: `status` for Meta, `reason` for the metric."""

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
        """Meta sets a callback URL: echo the challenge, as text, to whoever knows the token."""
        query = request.query
        token = query.get("hub.verify_token", "")
        if query.get("hub.mode") != "subscribe" or not signature.is_token(
            token, self._verify_token
        ):
            return web.Response(status=403)
        return web.Response(text=query.get("hub.challenge", ""))

    async def receive(self, request: web.Request) -> web.Response:
        """200 with an empty body, only after the webhook is durable."""
        try:
            await self._receive(request)
        except RequestRefused as refused:
            self._metrics.refused.labels(refused.reason).inc()
            return _refusal(refused)
        return web.Response()

    async def receive_test(self, request: web.Request) -> web.Response:
        """The short form of staging.py, unsigned; this route exists only outside production."""
        try:
            with self._reserved(request):
                body = await self._read(request)
                await self._store("test", "", staging.expand(body))
        except staging.Malformed as malformed:
            return web.json_response({"error": str(malformed)}, status=400)
        except RequestRefused as refused:
            return _refusal(refused)
        return web.Response()

    async def _receive(self, request: web.Request) -> None:
        header = request.headers.get(signature.HEADER)
        received = signature.parse(header)
        if header is None or received is None:
            raise RequestRefused(401, "signature_malformed" if header else "signature_missing")
        with self._reserved(request):
            body = await self._read(request)
            secret = signature.matching_secret(received, body, self._secrets)
            if secret is None:
                raise RequestRefused(401, "signature_wrong")
            self._signed_with[secret].inc()
            await self._store("whatsapp", header, body)

    @contextmanager
    def _reserved(self, request: web.Request) -> Iterator[None]:
        """Room for the body during the block; one of unsaid length takes the most it may have."""
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
            if request.content.is_eof():  # it came with its head, as small ones do: no timer
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


def _refusal(refused: RequestRefused) -> web.Response:
    response = web.Response(status=refused.status)
    if refused.status == 503:
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    if refused.status in (408, 413):
        response.force_close()  # the rest of the body is not worth reading
    return response


def create_app(routes: WebhookRoutes, *, with_test_route: bool) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get(PATH, routes.handshake, allow_head=False)
    app.router.add_post(PATH, routes.receive)
    if with_test_route:
        app.router.add_post(f"{PATH}/test", routes.receive_test)
    return app
