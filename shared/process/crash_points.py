"""Places where a test can crash or freeze the process, to prove that nothing is lost there."""

import os
import re
import signal
import sys

#: `name[:n[:SIGNAL]]`: the n-th time (default 1) that the process passes the point, it sends itself
#: the signal: KILL (the default), or STOP, which freezes it.
FORM = re.compile(r"([a-z_.]+)(?::([1-9][0-9]*))?(?::(KILL|STOP))?")
_EVENT = "porteiro.crash_point"


def crash_point(name: str) -> None:
    """Mark a place with a unique name. Costs almost nothing unless armed."""
    sys.audit(_EVENT, name)


def arm(crash_at: str | None) -> None:
    """Make this process crash once, at the point that `crash_at` names; None: never.

    It cannot be disarmed, so tests arm a process of their own. Raise ValueError unless `crash_at`
    has the FORM.
    """
    if crash_at is None:
        return
    match = FORM.fullmatch(crash_at)
    if match is None:
        raise ValueError("no crash point: expected name[:n[:KILL|STOP]]")
    name, n, signal_name = match.groups()
    left = int(n or 1)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event == _EVENT and arguments == (name,):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.Signals[f"SIG{signal_name or 'KILL'}"])

    sys.addaudithook(hook)
