"""The servers a process depends on, whether each is up, and /healthz, /readyz and /metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import SecretStr

from shared.errors import StartupRefused
from shared.process.server_faults import server_fault

log = structlog.get_logger()

#: The pause between two checks of a dependency, and the deadline of each check.
CHECK_EVERY_SECONDS = 2.0
CHECK_DEADLINE_SECONDS = 2.0


class Dependency:
    """A server that this process uses. `seen` is set when the first check ends, up or down."""

    def __init__(self, name: str, url: SecretStr | None, gauge: Gauge) -> None:
        self.name = name
        #: Hosts and ports, as the URL names them.
        self._address = url and urlsplit(url.get_secret_value()).netloc.rpartition("@")[2]
        self.up = False
        self.seen = asyncio.Event()
        self._gauge = gauge.labels(name)

    def mark(self, *, up: bool, error: BaseException | None = None) -> None:
        """Record whether the server is up. Log only a change."""
        if up and not self.up:
            log.info("dependency.up", dependency=self.name)
        elif not up and (self.up or not self.seen.is_set()):
            reason = "lost" if error is None else server_fault(error)
            log.warning(
                "dependency.down",
                dependency=self.name, address=self._address, reason=reason, exc_info=error,
            )  # fmt: skip
        self.up = up
        self._gauge.set(up)
        self.seen.set()

    async def watch(
        self, check: Callable[[], Awaitable[object]], *, every_seconds: float = CHECK_EVERY_SECONDS
    ) -> None:
        """Run `check` for ever. Re-raise StartupRefused; any other exception means down."""
        while True:
            try:
                async with asyncio.timeout(CHECK_DEADLINE_SECONDS):
                    await check()
            except StartupRefused:
                raise
            except Exception as error:  # a driver may raise anything: the server is not usable
                self.mark(up=False, error=error)
            else:
                self.mark(up=True)
            await asyncio.sleep(every_seconds)


class Health:
    """Ready means: not stopping, at least one dependency of each group in `needs` is up, and all
    `conditions` hold."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stopping = False
        self.needs: list[list[Dependency]] = []
        self.conditions: dict[str, Callable[[], bool]] = {}
        self._dependencies: list[Dependency] = []
        self._gauge = Gauge(
            "porteiro_dependency_up",
            "1 while the server answers",
            ["dependency"],
            registry=registry,
        )

    def dependency(self, name: str, url: SecretStr | None = None) -> Dependency:
        """`url` is the server's: its host and port are logged with an outage."""
        self._dependencies.append(Dependency(name, url, self._gauge))
        return self._dependencies[-1]

    @property
    def ready(self) -> bool:
        return (
            not self.stopping
            and all(any(d.up for d in group) for group in self.needs)
            and all(holds() for holds in self.conditions.values())
        )

    def report(self) -> dict[str, object]:
        states = {d.name: "up" if d.up else "down" for d in self._dependencies}
        report = {"ready": self.ready, "stopping": self.stopping, "dependencies": states}
        failing = [name for name, holds in self.conditions.items() if not holds()]
        return report | {"failing": failing} if failing else report


@asynccontextmanager
async def serve_health(
    health: Health, registry: CollectorRegistry, *, host: str, port: int
) -> AsyncIterator[None]:
    """Answer Kubernetes and Prometheus while the block runs. Set `stopping` when the block ends."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="alive")

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(health.report(), status=200 if health.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        health.stopping = True
        await runner.cleanup()
