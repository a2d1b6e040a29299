"""The API with Redis full, empty, frozen and dead: the same answers, in bounded time."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from shared.cache import open_redis
from shared.store.pool import Pool
from tests.support.onboarding_setup import CHECK, House, open_house
from tests.support.own_redis import own_redis
from tests.support.simulated import WABA, number

#: Far more than a lookup may cost (0.1 s), and far less than a driver's own patience.
ANSWER_SECONDS = 1.0


async def test_the_same_answers_whatever_ails_redis(
    environment: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    async with own_redis(tmp_path) as (url, pid), open_redis(url) as redis:
        with_own = environment | {"REDIS_URL": url}
        os.environ["REDIS_URL"] = url  # `environment` puts it back
        async with open_house(with_own, pool) as house:
            house.meta.time = time.time()
            await house.meta.put_waba(number())
            code = await house.connect()
            await house.until_active(code)
            sound = await _answers(house, code)
            assert await _answers(house, code) == sound
            await redis.flushall()
            assert await _answers(house, code) == sound
            os.kill(pid, signal.SIGSTOP)
            assert await _answers(house, code) == sound
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
            assert await _answers(house, code) == sound
            other = await house.start("pharmacy")
            assert (await house.status(other))["state"] == "open"


async def _answers(house: House, code: str) -> list[Any]:
    async with asyncio.timeout(ANSWER_SECONDS):
        status = await house.status(code)
    async with asyncio.timeout(ANSWER_SECONDS):
        [checked] = (await house.ask("GET", f"{CHECK}?waba_id={WABA}"))["connections"]
    async with asyncio.timeout(ANSWER_SECONDS):
        nobodys = await house.ask("GET", f"{CHECK}?waba_id=1", status=404)
    checked.pop("last_check_age")
    return [status, checked, nobodys]
