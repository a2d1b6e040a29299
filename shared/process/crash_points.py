"""Places where a process can be told to die or to freeze, to prove that nothing is lost there."""

import os
import re
import signal
import sys

#: `name`, `name:n` or `name:n:SIGNAL`: at the n-th passing (the first) the process sends itself the
#: signal (KILL; STOP freezes it).
FORM = re.compile(r"([a-z_.]+)(?::([1-9][0-9]*))?(?::(KILL|STOP))?")
_EVENT = "porteiro.crash_point"


def crash_point(name: str) -> None:
    """Mark a place by a name of its own; next to free unless armed."""
    sys.audit(_EVENT, name)


def arm(crash_at: str) -> None:
    """Crash once, where `crash_at` says; for the rest of the process's life, so never in its tests.

    Raises ValueError unless it has the FORM.
    """
    found = FORM.fullmatch(crash_at)
    if found is None:
        raise ValueError("no crash point: expected name[:n[:KILL|STOP]]")
    name, passings, what = found.groups()
    left = int(passings or 1)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event == _EVENT and arguments == (name,):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.Signals[f"SIG{what or 'KILL'}"])

    sys.addaudithook(hook)
