"""Every crash point there is, by what crosses it: none can be forgotten."""

import re
from pathlib import Path
from typing import Literal

from tests.support.source import ROOT, files

_POINT = re.compile(r'crash_point\("([a-z_.]+)"\)')

#: What crosses it: a webhook, a customer who connects, or keys under rotation.
Road = Literal["webhook", "connecting", "keys"]
_FOLLOWING = {"follow_up_worker.py", "onboarding_proof.py", "provisioning.py", "disconnection.py"}


def named() -> list[tuple[str, Path]]:
    """Names with the files they are in, as often as they stand there."""
    return [
        (name, file.relative_to(ROOT))
        for file in files("services", "shared")
        for name in _POINT.findall(file.read_text())
    ]


def points(road: Road) -> dict[str, Path]:
    return {name: file for name, file in named() if _road(file) == road}


def _road(file: Path) -> Road:
    if file.name == "rotate_keys.py":
        return "keys"
    is_console = file.parts[:2] == ("services", "console")
    return "connecting" if is_console or file.name in _FOLLOWING else "webhook"
