"""Follow a piece of work through our files, as a reader follows it through the code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tests.support.source import ROOT

#: What every file uses is no stop on the way.
NOT_COUNTED = ("shared/store/pool.py", "shared/broker/connect.py", "shared/process/crash_points.py")
#: What runs beside the work, at intervals of its own, or when a server can be reached.
BESIDE = (
    "shared/process/health.py",
    "shared/polling_loop.py",
    "shared/broker/connect.py",
    "deploy/local/simulated_meta",
)
_ROOT = f"{ROOT}/"


@dataclass(slots=True)
class Walk:
    """The calls from file to file. The same call from the same file counts once, when it is first
    made: who has read a function does not read it again.

    `calls` are pairs: the file that called, and the function, with its file, that was called.
    """

    calls: dict[tuple[str, tuple[str, str]], None] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        return {file for caller, (called, _) in self.calls for file in (caller, called) if file}

    @property
    def turns_back(self) -> int:
        """How often the walk enters a file that it has left before."""
        seen: set[str] = set()
        turns, last = 0, ""
        for _, (file, _) in self.calls:
            turns += file in seen and file != last
            seen.add(file)
            last = file
        return turns


@contextmanager
def followed() -> Iterator[Walk]:
    """Yield the walk of whatever this thread does while the block runs."""
    walk = Walk()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and _is_start(frame) and (file := _ours(frame)) is not None:
            caller = _caller(frame.f_back)
            if caller is not None and caller != file:
                walk.calls[caller, (file, frame.f_code.co_qualname)] = None

    sys.setprofile(profile)
    try:
        yield walk
    finally:
        sys.setprofile(None)


def _is_start(frame: FrameType) -> bool:
    """Return whether a function starts: Python also tells of a coroutine that goes on."""
    return frame.f_code.co_name != "<module>" and frame.f_code.co_code[frame.f_lasti + 1] == 0


def _path(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    return name.removeprefix(_ROOT) if name.startswith(_ROOT) else ""


def _ours(frame: FrameType) -> str | None:
    path = _path(frame)
    return path if path.startswith(("services/", "shared/")) and path not in NOT_COUNTED else None


def _caller(frame: FrameType | None) -> str | None:
    """Return the file that called, "" if none of ours did; None if it runs beside the work."""
    caller = ""
    while frame is not None:
        if _path(frame).startswith(BESIDE):
            return None
        caller = caller or _ours(frame) or ""
        frame = frame.f_back
    return caller
