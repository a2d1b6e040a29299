"""Test the tests: change the code in one place at a time, and see whether a test fails.

`python -m tests.mutants PART [SAMPLE [SEED]]` lets mutmut do so in a copy of the tree, and prints
each change that no test noticed. Not changed: SQL in triple quotes, and what runs at
import (constants, tables). Not seen: what runs in a process of its own.
"""

import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from shutil import copy, rmtree
from types import SimpleNamespace

from tests.support.servers import TestServers
from tests.support.source import ROOT

UNIT, INTEGRATION, JOURNEYS = "tests/unit", "tests/integration", "tests/journeys"
_EVENTS = (f"{INTEGRATION}/processor/test_event_relay.py",
           f"{INTEGRATION}/processor/test_events.py",
           f"{INTEGRATION}/processor/test_left_out_rows.py",
           f"{INTEGRATION}/store/test_event_replays.py", f"{JOURNEYS}/test_webhook.py")  # fmt: skip
_STEPS = (f"{INTEGRATION}/store/test_follow_ups.py", f"{JOURNEYS}/test_onboarding.py",
          f"{JOURNEYS}/test_onboarding_failures.py")  # fmt: skip
_OWNERS = (f"{INTEGRATION}/actions", f"{JOURNEYS}/test_claims.py", f"{JOURNEYS}/test_ownership.py",
           f"{JOURNEYS}/test_connection_lifecycle.py")  # fmt: skip
#: What is changed, and which tests must notice.
PARTS = {
    "shared/domain": (f"{UNIT}/shared",),
    "shared/crypto.py": (f"{UNIT}/shared",),
    "shared/broker": (f"{INTEGRATION}/broker", f"{INTEGRATION}/ingress/test_fallback.py"),
    "shared/store/due.py": (f"{INTEGRATION}/store/test_leases.py",
                            f"{INTEGRATION}/store/test_follow_ups.py",
                            f"{INTEGRATION}/processor/test_due_rows.py",
                            f"{INTEGRATION}/processor/test_left_out_rows.py"),
    "shared/store/events.py": _EVENTS,
    "shared/store/rotation.py": (f"{INTEGRATION}/store/test_rotation.py",
                                 f"{INTEGRATION}/scheduler/test_rotate_keys.py"),
    "shared/store/connections/follow_ups.py": _STEPS,
    "shared/store/connections": (*_OWNERS, f"{JOURNEYS}/test_onboarding.py",
                                 f"{JOURNEYS}/test_numbers.py", f"{INTEGRATION}/store",
                                 f"{INTEGRATION}/scheduler/test_cleanup.py",
                                 f"{INTEGRATION}/scheduler/test_token_health.py"),
    "services/ingress": (f"{UNIT}/services/ingress", f"{INTEGRATION}/ingress"),
    "services/processor/intake": (f"{UNIT}/services/test_delivery_queue.py",
                                  f"{INTEGRATION}/processor"),
    "services/processor/follow_ups": (*_STEPS, f"{INTEGRATION}/actions",
                                      f"{INTEGRATION}/processor/test_follow_up_waits.py",
                                      f"{JOURNEYS}/test_connection_lifecycle.py"),
    "services/processor/event_relay.py": _EVENTS,
    "services/processor/quarantine.py": (f"{INTEGRATION}/processor/test_quarantine.py",
                                         f"{INTEGRATION}/processor/test_left_out_rows.py"),
}  # fmt: skip
#: A mutant has three times as long as its tests took, and these seconds three times.
SPARE_SECONDS = 10
#: Log lines and the texts of errors are for people: no test holds their words.
_WORDS = (r"^\s*log\.", r"^\s*raise \w+\(f?\"")


def _make_copy(part: str) -> Path:
    """Copy what git knows, with mutmut's settings. The tree itself is never changed."""
    folder = ROOT / ".local" / "mutants" / part.replace("/", "-")
    rmtree(folder, ignore_errors=True)
    known = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, known.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # deleted, and not yet committed
            copy(ROOT / name, folder / name)
    settings = {
        "source_paths": ("shared", "services"),
        "only_mutate": (part if part.endswith(".py") else f"{part}/*",),
        "also_copy": ("bench", "deploy", "docs", ".env.example"),
        "pytest_add_cli_args_test_selection": next(
            tests for prefix, tests in PARTS.items() if part.startswith(prefix)
        ),
        "do_not_mutate_patterns": _WORDS,
        "timeout_multiplier": (3,),
        "timeout_constant": (SPARE_SECONDS,),
        "use_git_change_detection": ("false",),
    }
    lines = (f"{key} = " + "\n    ".join(map(str, values)) for key, values in settings.items())
    (folder / "setup.cfg").write_text("\n".join(("[mutmut]", *lines)))
    return folder


def _mutmut(folder: Path, *arguments: str) -> str:
    """Return what mutmut wrote. It ends with an error if no mutant has a name that it was given."""
    command = (str(Path(sys.executable).with_name("mutmut")), *arguments)
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def _outcomes(folder: Path) -> dict[str, str]:
    lines = _mutmut(folder, "results", "--all", "true").splitlines()
    return {name.strip(): outcome for name, _, outcome in (line.partition(": ") for line in lines)}


def main(part: str, sample: str = "", seed: str = "1") -> None:
    folder = _make_copy(part)
    with closing(SimpleNamespace(close=TestServers().stop)):
        names: list[str] = []
        if sample:
            _mutmut(folder, "run", "none")  # makes the mutants, and finds none of that name
            every = sorted(_outcomes(folder))
            names = Random(seed).sample(every, min(int(sample), len(every)))
        output = _mutmut(folder, "run", "--max-children", "1", *names)
    outcomes = _outcomes(folder)
    tried = {name: what for name, what in outcomes.items() if what != "not checked"}
    for name in (name for name, what in tried.items() if what not in ("killed", "timeout")):
        print(f"\n{tried[name]}: {_mutmut(folder, 'show', name)}")
    if not tried:
        sys.exit(output)
    print(f"{part}: {dict(Counter(tried.values()))}, {len(tried)} of {len(outcomes)} mutants tried")


if __name__ == "__main__":
    main(*sys.argv[1:])
