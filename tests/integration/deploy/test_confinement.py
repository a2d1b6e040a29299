"""Each job runs with its CronJob's command, environment and confinement."""

from pathlib import Path

import pytest

from shared.domain.schedule import JOBS
from tests.support.backups import backup_settings
from tests.support.confined import IS_POSSIBLE, run_confined
from tests.support.manifests import PODS, given_secrets, settings

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="needs root, unshare and setpriv")

PROBE = """
import os
with open("/proc/self/status") as status:
    words = [line.split() for line in status]
print([word[1] for word in words if word[0] in ("CapEff:", "CapBnd:", "NoNewPrivs:")])
print(os.getuid(), os.getgid(), os.getgroups())
open("/tmp/x", "w").close()
for folder in ("/", "/run", "/run/porteiro-tree"):
    try:
        open(os.path.join(folder, "x"), "w").close()
        print("wrote to", folder)
    except OSError:
        pass
"""


async def test_the_confinement_confines() -> None:
    code, output = await run_confined(["python", "-c", PROBE], {})
    assert code == 0, output
    none = "0" * 16
    assert output.splitlines() == [f"['{none}', '{none}', '1']", "10001 10001 []"]


@pytest.mark.parametrize("job", [job.name for job in JOBS])
async def test_a_job_runs_in_its_pod(environment: dict[str, str], job: str) -> None:
    """The drill finds no backup: the one that was made is in the other pod's /tmp."""
    [container] = PODS[job]["containers"]
    folder = Path("/tmp/backups")  # noqa: S108
    known = environment | backup_settings(folder, environment["DATABASE_URL"])
    env = {name: known[name] for name in given_secrets(container) & set(known)}
    env |= settings() | {"INSECURE_SERVERS": "database,rabbitmq"}  # on loopback, as they are here
    code, output = await run_confined([*container["command"], *container["args"]], env)
    if job == "restore-drill":
        assert (code, "there is no backup" in output) == (1, True), output
        return
    assert code == 0, output
    assert '"event":"job.done"' in output
