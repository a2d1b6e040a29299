"""The demo's last part: no token, code, PIN or key is in anything that left a process."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from redis.asyncio import Redis

from deploy.local.stack.stack import ENV_FILE, LOGS
from shared.store.pool import Conn

#: Settings whose values are secrets, by the ends of their names.
_SECRET = re.compile(r"_(KEY|SECRET|TOKEN)$")
#: Times and other numbers, in which a PIN's six digits may stand by chance.
_NUMBERS = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.,]+|\d+\.\d+|[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True, slots=True)
class Search:
    """How many secrets were looked for, where, and where one was found."""

    secrets: int
    places: tuple[str, ...]
    found_in: tuple[str, ...]

    @property
    def came_true(self) -> bool:
        is_real = self.secrets > 10 and {"redis", "logs/console.log"} <= set(self.places)
        return is_real and not self.found_in

    def summary(self) -> str:
        where = ", ".join(self.found_in) or "nowhere"
        places = f"{len(self.places)} logs, metrics, tables and caches"
        return f"{self.secrets} tokens, codes, PINs and keys looked for in {places}: {where}."


async def search(facts: Mapping[str, Any]) -> Search:
    async with aiohttp.ClientSession() as http:
        secrets = await _secrets(http, facts)
        texts = {f"logs/{path.name}": path.read_text(errors="replace") for path in _logs()}
        for name, url in facts["health"].items():
            async with http.get(f"{url}/metrics") as answer:
                texts[f"metrics of {name}"] = await answer.text()
    database = await asyncpg.connect(facts["database"])
    try:
        texts |= {f"table {name}": rows for name, rows in (await in_tables(database)).items()}
    finally:
        await database.close()
    async with Redis.from_url(facts["redis"]) as redis:
        texts["redis"] = await in_redis(redis)
    texts = {name: text for name, text in texts.items() if text}
    found = [name for name, text in texts.items() if any(is_in(one, text) for one in secrets)]
    return Search(len(secrets), tuple(texts), tuple(found))


async def _secrets(http: aiohttp.ClientSession, facts: Mapping[str, Any]) -> set[str]:
    async with http.get(f"{facts['simulated_meta']}/simulator/secrets") as answer:
        metas = set((await answer.json())["secrets"])
    words = shlex.split(ENV_FILE.read_text(), comments=True)
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    ours = {value for name, value in settings.items() if _SECRET.search(name) and value}
    return metas | ours | {facts["api_key"]}


def _logs() -> list[Path]:
    return sorted(LOGS.glob("*.log"))


async def in_tables(database: Conn) -> dict[str, str]:
    """By table every row; bytes in hex."""
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        name: "\n".join(
            row[0]
            for row in await database.fetch(f'SELECT to_jsonb(t)::text FROM "{name}" t')  # noqa: S608
        )
        for (name,) in tables
    }


async def in_redis(redis: Redis) -> str:
    keys = [key async for key in redis.scan_iter()]
    return "".join([f"{key!r} {await redis.get(key)!r}\n" for key in keys])


def is_in(secret: str, text: str) -> bool:
    if len(secret) == 6:  # a PIN: its digits alone
        return re.search(rf"(?<!\w){secret}(?!\w)", _NUMBERS.sub("", text)) is not None
    return secret in text or secret.encode().hex() in text
