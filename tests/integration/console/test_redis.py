"""The API gives the same answers with Redis full, empty, frozen and dead, in bounded time."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from shared.cache import open_redis
from shared.store.pool import Pool
from tests.support.onboarding_setup import CHECK, Installation, open_installation
from tests.support.own_redis import own_redis
from tests.support.simulated import WABA, number

#: Much longer than one lookup may take (0.1 s), much shorter than a driver's own timeout.
ANSWER_SECONDS = 1.0


async def test_the_answers_do_not_depend_on_redis(
    environment: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    async with own_redis(tmp_path) as (url, pid), open_redis(url) as redis:
        settings = environment | {"REDIS_URL": url}
        os.environ["REDIS_URL"] = url  # the `environment` fixture restores it
        async with open_installation(settings, pool) as installation:
            installation.meta.time = time.time()
            await installation.meta.put_waba(number())
            code = await installation.connect()
            await installation.until_active(code)
            expected = await _answers(installation, code)
            assert await _answers(installation, code) == expected
            await redis.flushall()
            assert await _answers(installation, code) == expected
            os.kill(pid, signal.SIGSTOP)
            assert await _answers(installation, code) == expected
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
            assert await _answers(installation, code) == expected
            other_code = await installation.start_onboarding("pharmacy")
            assert (await installation.status(other_code))["state"] == "open"


async def _answers(installation: Installation, code: str) -> list[Any]:
    async with asyncio.timeout(ANSWER_SECONDS):
        status = await installation.status(code)
    async with asyncio.timeout(ANSWER_SECONDS):
        [checked] = (await installation.request("GET", f"{CHECK}?waba_id={WABA}"))["connections"]
    async with asyncio.timeout(ANSWER_SECONDS):
        unknown = await installation.request("GET", f"{CHECK}?waba_id=1", status=404)
    checked.pop("last_check_age")
    unknown.pop("request_id")
    return [status, checked, unknown]
