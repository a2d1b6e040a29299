"""The manifests are valid, each job has its CronJob, and no pod has more than it needs."""

import shutil
from pathlib import Path

import pytest

from deploy.k8s.manifests import faults, render
from services.scheduler.jobs.retry_sweep import SweepSettings
from services.scheduler.jobs.token_health import TokenHealthJobSettings
from shared.domain.schedule import JOBS
from shared.process.lifecycle import EXIT_REFUSED, STOP_SECONDS
from shared.settings.backup import BackupSettings, RestoreDrillSettings
from shared.settings.console import ConsoleSettings
from shared.settings.groups import Settings
from shared.settings.ingress import IngressSettings
from shared.settings.processor import ProcessorSettings
from shared.settings.retention import RetentionSettings
from shared.settings.token_health import TokenHealthSettings
from tests.support.manifests import BASE, PODS, given_secrets

#: What each pod's process reads.
SETTINGS: dict[str, type[Settings]] = {
    "ingress": IngressSettings,
    "processor": ProcessorSettings,
    "console": ConsoleSettings,
    **{job.name: RetentionSettings for job in JOBS},
    "retry-sweep": SweepSettings,
    "token-health": TokenHealthJobSettings,
    "token-checks": TokenHealthSettings,
    "backup": BackupSettings,
    "restore-drill": RestoreDrillSettings,
}
#: Set by an overlay's ConfigMap, as deploy/k8s/README.md says.
OWN = {"META_APP_ID", "META_CONFIG_ID", "CONSOLE_URL"}


def test_the_manifests_are_valid_and_of_the_table() -> None:
    assert faults(BASE) == []
    assert PODS.keys() == SETTINGS.keys()


@pytest.mark.parametrize(
    ("file", "before", "after", "fault"),
    [
        ("every-cronjob.yaml", "concurrencyPolicy: Forbid", "concurencyPolicy: Forbid",
         "'concurencyPolicy' was unexpected"),
        ("every-cronjob.yaml", "concurrencyPolicy: Forbid", "concurrencyPolicy: 1", "not of type"),
        ("every-cronjob.yaml", "readOnlyRootFilesystem", "readonlyRootFilesystem",
         "'readonlyRootFilesystem' was unexpected"),
        ("every-deployment.yaml", "periodSeconds: 3", "periodSecond: 3",
         "'periodSecond' was unexpected"),
        ("every-cronjob.yaml", "America/Sao_Paulo", "America/Sao_Paolo",
         "timeZone America/Sao_Paolo does not exist"),
        ("every-cronjob.yaml", "America/Sao_Paulo", "Europe/Berlin",
         "timeZone is Europe/Berlin, the table says America/Sao_Paulo"),
        ("jobs.yaml", '"20 * * * *"', '"20 * * *"', "schedule is no cron line"),
        ("jobs.yaml", '"20 * * * *"', '"61 * * * *"', "schedule is no cron line: Bad minute"),
        ("jobs.yaml", '"20 * * * *"', '"21 * * * *"', "schedule is 21 * * * *, the table says 20"),
        ("jobs.yaml", "startingDeadlineSeconds: 240", "startingDeadlineSeconds: 24",
         "startingDeadlineSeconds is 24, the table says 240"),
        ("jobs.yaml", "activeDeadlineSeconds: 630", "activeDeadlineSeconds: 60",
         "activeDeadlineSeconds is 60, the table says 630"),
        ("jobs.yaml", "args: [cleanup]", "args: [retention]", "the table says ['porteiro', 'clean"),
        ("jobs.yaml", "name: porteiro-cleanup", "name: porteiro-clean", "cleanup: is missing"),
        ("jobs.yaml", "name: porteiro-cleanup", "name: porteiro-clean", "clean: no job of the"),
        ("kustomization.yaml", "- console.yaml", "- consoles.yaml", "consoles.yaml"),
    ],
)  # fmt: skip
def test_a_fault_is_found(tmp_path: Path, file: str, before: str, after: str, fault: str) -> None:
    folder = tmp_path / "base"
    shutil.copytree(BASE, folder)
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    assert any(fault in found for found in faults(folder)), faults(folder)


@pytest.mark.parametrize("component", sorted(PODS))
def test_a_pod_is_confined(component: str) -> None:
    pod = PODS[component]
    [container] = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108
    assert [volume.keys() for volume in pod["volumes"]] == [{"name", "emptyDir"}]
    assert container["image"] == "porteiro"
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("component", sorted(PODS))
def test_a_pod_has_what_its_process_reads_and_no_secret_beside_it(component: str) -> None:
    [container] = PODS[component]["containers"]
    given = given_secrets(container)
    fields = SETTINGS[component].model_fields
    read = {name.upper() for name in fields}
    needed = {name.upper() for name, field in fields.items() if field.is_required()}
    assert needed - OWN <= given
    of_the_store = {name for name in given if name.startswith("AWS_")}
    assert given - of_the_store - {"META_APP_SECRET_PREVIOUS"} <= read
    needs_tokens = component in ("processor", "console", "restore-drill", "token-checks")
    assert ("TOKEN_ENCRYPTION_KEY" in given) == needs_tokens
    assert ("BACKUP_IDENTITY" in given) == (component == "restore-drill")


def test_a_refused_job_is_not_repeated() -> None:
    for resource in render(BASE):
        if resource["kind"] == "CronJob":
            spec = resource["spec"]["jobTemplate"]["spec"]
            [refused, evicted] = spec["podFailurePolicy"]["rules"]
            assert refused["action"] == "FailJob"
            assert refused["onExitCodes"]["values"] == [EXIT_REFUSED]
            assert evicted["action"] == "Ignore"
            assert spec["template"]["spec"]["restartPolicy"] == "Never"
            assert resource["spec"]["concurrencyPolicy"] == "Forbid"
