"""The registry of a process's metrics, with the version of its code."""

from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics


def open_registry() -> CollectorRegistry:
    """Return a registry that has `porteiro_build_info`.

    Switch off the counters' `_created` series: they double what is stored, and nothing reads them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    build = Gauge("porteiro_build_info", "Always 1", ["version"], registry=registry)
    try:
        build.labels(version("porteiro")).set(1)
    except PackageNotFoundError:  # a source tree that was never installed
        build.labels("unknown").set(1)
    return registry
