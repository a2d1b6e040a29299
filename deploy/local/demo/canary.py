"""The demo's last part: check that no token, code, PIN or key is in the output of a process.

Output is logs, metrics, tables and Redis.
"""

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
from shared.crypto import KeyRing
from shared.store.connections import tracking_codes
from shared.store.pool import Conn

#: The end of the name of each setting whose value is a secret.
_SECRET_SETTING = re.compile(r"_(KEY|SECRET|TOKEN)$")
#: Times, decimal numbers and UUIDs: they may contain the six digits of a PIN by chance.
_NUMBERS = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.,]+|\d+\.\d+|[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True, slots=True)
class Search:
    """How many secrets were searched, where, and which places contain one."""

    secrets: int
    places: tuple[str, ...]
    found_in: tuple[str, ...]

    @property
    def came_true(self) -> bool:
        is_complete = self.secrets > 10 and {"redis", "logs/console.log"} <= set(self.places)
        return is_complete and not self.found_in

    def summary(self) -> str:
        result = f"FOUND in {', '.join(self.found_in)}" if self.found_in else "found none"
        places = f"{len(self.places)} logs, metrics, tables and caches"
        return f"Searched {places} for {self.secrets} tokens, codes, PINs and keys: {result}."


async def search(stack: Mapping[str, Any]) -> Search:
    async with aiohttp.ClientSession() as http:
        secrets = await _secrets(http, stack)
        texts = {f"logs/{path.name}": path.read_text(errors="replace") for path in _logs()}
        for name, url in stack["health"].items():
            async with http.get(f"{url}/metrics") as answer:
                texts[f"metrics of {name}"] = await answer.text()
    conn = await asyncpg.connect(stack["database"])
    try:
        secrets |= await _tracking_codes(conn, stack)
        texts |= {f"table {name}": rows for name, rows in (await in_tables(conn)).items()}
    finally:
        await conn.close()
    async with Redis.from_url(stack["redis"]) as redis:
        texts["redis"] = await in_redis(redis)
    texts = {name: text for name, text in texts.items() if text}
    found_in = (
        name for name, text in texts.items() if any(is_in(secret, text) for secret in secrets)
    )
    return Search(len(secrets), tuple(texts), tuple(found_in))


async def _tracking_codes(conn: Conn, stack: Mapping[str, Any]) -> set[str]:
    ring = KeyRing([bytes.fromhex(stack["token_encryption_key"])])
    rows = await conn.fetch("SELECT id, sealed_tracking_code FROM whatsapp_onboarding")
    return {tracking_codes.open_code(ring, *row) for row in rows}


async def _secrets(http: aiohttp.ClientSession, stack: Mapping[str, Any]) -> set[str]:
    async with http.get(f"{stack['simulated_meta']}/simulator/secrets") as answer:
        secrets_of_meta = set((await answer.json())["secrets"])
    words = shlex.split(ENV_FILE.read_text(), comments=True)
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    our_secrets = {
        value for name, value in settings.items() if _SECRET_SETTING.search(name) and value
    }
    return secrets_of_meta | our_secrets | {stack["api_key"]}


def _logs() -> list[Path]:
    return sorted(LOGS.glob("*.log"))


async def in_tables(conn: Conn) -> dict[str, str]:
    """Return the rows of every table as text, by table. Bytes are in hex."""
    tables = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        name: "\n".join(
            row[0] for row in await conn.fetch(f'SELECT to_jsonb(t)::text FROM "{name}" t')
        )
        for (name,) in tables
    }


async def in_redis(redis: Redis) -> str:
    """Return every key and value as text."""
    keys = [key async for key in redis.scan_iter()]
    return "".join([f"{key!r} {await redis.get(key)!r}\n" for key in keys])


def is_in(secret: str, text: str) -> bool:
    """Return True if the text has the secret, plain or in hex. A PIN must stand alone."""
    if len(secret) == 6:  # a PIN
        return re.search(rf"(?<!\w){secret}(?!\w)", _NUMBERS.sub("", text)) is not None
    return secret in text or secret.encode().hex() in text
