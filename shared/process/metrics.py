"""The registry of a process's metrics, with the version of its code."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics


def open_registry() -> CollectorRegistry:
    """Return a registry that has `porteiro_build_info`.

    Switch off the counters' `_created` series: they double what is stored, and nothing reads them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    build = Gauge("porteiro_build_info", "Always 1", ["version"], registry=registry)
    build.labels(version("porteiro")).set(1)
    return registry
