"""Find every crash point in the source, so that no test can miss one."""

import re
from pathlib import Path
from typing import Literal

from tests.support.source import ROOT, files

_POINT = re.compile(r'crash_point\("([a-z_.]+)"\)')

#: What reaches a crash point: a webhook, a customer who connects, the rotation of keys, a scheduled
#: job, or the check of a connection.
Flow = Literal["webhook", "connecting", "keys", "jobs", "checks"]
_CHECKS = {"checks.py", "connection_checks.py", "token_renewal.py"}
_CONNECTING = (("services", "console"), ("services", "processor", "follow_ups"))


def all_points() -> list[tuple[str, Path]]:
    """Return each crash point in the source with its file. A name used twice comes twice."""
    return [
        (name, file.relative_to(ROOT))
        for file in files("services", "shared")
        for name in _POINT.findall(file.read_text())
    ]


def points(flow: Flow) -> dict[str, Path]:
    return {name: file for name, file in all_points() if _flow(file) == flow}


def _flow(file: Path) -> Flow:
    if file.name == "rotate_keys.py":
        return "keys"
    if file.name in _CHECKS:
        return "checks"
    if file.parts[:3] == ("services", "scheduler", "jobs"):
        return "jobs"
    is_connecting = any(file.parts[: len(folder)] == folder for folder in _CONNECTING)
    return "connecting" if is_connecting else "webhook"
