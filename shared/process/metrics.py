"""Where a process's metrics are kept, and which code it is."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics


def open_registry() -> CollectorRegistry:
    """A registry with `porteiro_build_info`.

    No `_created` series beside each counter: they double what is stored and nobody reads them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    build = Gauge("porteiro_build_info", "Always 1", ["version"], registry=registry)
    build.labels(version("porteiro")).set(1)
    return registry
