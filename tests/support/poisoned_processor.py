"""The processor, with webhooks that kill it: `python -m tests.support.poisoned_processor`.

What in Python's own machinery might die of a body cannot be staged, so its death is.
"""

import os
import signal

from services.processor.__main__ import main
from shared.actions import webhook_groups
from shared.domain.splitting import Change, split
from shared.process.lifecycle import run

POISON = b"POISON"


def split_or_die(body: bytes, *, is_test: bool) -> list[Change]:
    if POISON in body:
        os.kill(os.getpid(), signal.SIGKILL)
    return split(body, is_test=is_test)


if __name__ == "__main__":
    vars(webhook_groups)["split"] = split_or_die
    run("processor", main)
