"""What the rendered manifests say of each pod."""

from collections.abc import Iterator
from typing import Any

from deploy.k8s.manifests import render
from tests.support.source import ROOT

BASE = ROOT / "deploy/k8s/base"


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for resource in render(BASE):
        component = resource["metadata"]["labels"].get("app.kubernetes.io/component")
        if resource["kind"] == "Deployment":
            yield component, resource["spec"]["template"]["spec"]
        if resource["kind"] == "CronJob":
            yield component, resource["spec"]["jobTemplate"]["spec"]["template"]["spec"]


#: The specification of each pod, by component.
PODS = dict(_pods())


def settings() -> dict[str, str]:
    """Return what is no secret."""
    [data] = [resource["data"] for resource in render(BASE) if resource["kind"] == "ConfigMap"]
    return dict(data)


def given_secrets(container: dict[str, Any]) -> set[str]:
    """Return the names of the environment variables that the container has from Secrets."""
    keys = _secret_keys()
    names = [
        source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source
    ]
    return set().union(*(keys[name] for name in names))


def _secret_keys() -> dict[str, set[str]]:
    """Return the keys of each Secret, by the table of deploy/k8s/README.md."""
    rows = [line.split("|") for line in (BASE.parent / "README.md").read_text().splitlines()]
    return {
        row[1].strip(" `"): {key.strip(" `") for key in row[2].split(",")}
        for row in rows
        if len(row) > 3 and row[1].strip().startswith("`porteiro-")
    }
