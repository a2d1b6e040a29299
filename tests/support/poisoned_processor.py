"""Run a processor that some webhooks kill: `python -m tests.support.poisoned_processor`.

A test cannot make Python itself crash on a body, so the processor kills itself instead.
"""

import os
import signal

from services.processor.__main__ import main
from services.processor.intake import split_webhooks
from shared.domain.splitting import Change, split
from shared.process.lifecycle import run

POISON = b"POISON"


def split_or_kill(body: bytes, *, is_test: bool) -> list[Change]:
    if POISON in body:
        os.kill(os.getpid(), signal.SIGKILL)
    return split(body, is_test=is_test)


if __name__ == "__main__":
    vars(split_webhooks)["split"] = split_or_kill
    run("processor", main)
