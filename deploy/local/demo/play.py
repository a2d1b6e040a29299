"""Tells the demo's story to a running stack and prints what was sent and what became of it."""

import asyncio
import statistics
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import aiohttp
import asyncpg
from rich.console import Console
from rich.table import Table

from deploy.local.demo import attribution, canary, connecting
from deploy.local.demo.story import Scene, scenes
from services.ingress.app import PATH

REST_SECONDS = 20.0
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    title: str
    expected: str
    became: str
    came_true: bool
    answer_ms: float
    rest_ms: float | None = None


def tell(facts: Facts) -> bool:
    """Play every scene against the stack and print the tables; whether all of it came true."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    outcomes = asyncio.run(_play(facts))
    console.print(_table(outcomes))
    findings = asyncio.run(attribution.play(facts))
    console.print(attribution.table(findings))
    told = asyncio.run(connecting.play(facts))
    console.print(connecting.table(told))
    searched = asyncio.run(canary.search(facts))
    console.print(searched.summary())
    came_true = [searched.came_true] + [one.came_true for one in outcomes]
    came_true += [one.came_true for one in findings] + [one.came_true for one in told]
    console.print(f"{sum(came_true)} of {len(came_true)} scenes came true.")
    return all(came_true)


async def _play(facts: Facts) -> list[Outcome]:
    database = await asyncpg.connect(facts["database"])
    try:
        async with aiohttp.ClientSession() as http:
            outcomes = [await _handshake(http, facts)]
            for scene in scenes():
                outcomes.append(await _perform(scene, http, database, facts))  # noqa: PERF401
    finally:
        await database.close()
    return outcomes


async def _handshake(http: aiohttp.ClientSession, facts: Facts) -> Outcome:
    """Meta checks a callback URL before it sends anything to it."""
    answers = []
    started = time.perf_counter()
    for token in (facts["verify_token"], "somebody else's"):
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
        async with http.get(facts["ingress"] + PATH, params=query) as answer:
            answers.append((answer.status, await answer.text()))
    came_true = answers[0] == (200, "1158201444") and answers[1][0] == 403
    return Outcome(
        "Meta's handshake, then one with a wrong token",
        "challenge echoed, then 403",
        ", then ".join(str(status) for status, _ in answers),
        came_true,
        (time.perf_counter() - started) * 500,
    )


async def _perform(
    scene: Scene, http: aiohttp.ClientSession, database: "asyncpg.Connection[Any]", facts: Facts
) -> Outcome:
    before = await _changes(database)
    first_of = await database.fetchval("SELECT clock_timestamp()")
    order = {
        "raw": [b64encode(post).decode() for post in scene.posts],
        "signature": scene.signature,
    }
    started = time.perf_counter()
    async with http.post(f"{facts['simulated_meta']}/simulator/webhooks", json=order) as answer:
        sent = (await answer.json())["sent"]
    rests = await _at_rest(scene.posts, database, first_of, wanted=scene.at_rest is not None)
    rest_ms = (time.perf_counter() - started) * 1000 if scene.at_rest else None
    new = await _changes(database) - before
    statuses = Counter(one["status"] for one in sent)
    came_true = (
        set(statuses) == {scene.answer}
        and new == scene.new_changes
        and set(rests) == ({scene.at_rest} if scene.at_rest else set())
        and sum(rests.values()) == (len(scene.posts) if scene.at_rest else 0)
    )
    became = f"{_list(statuses)}: {_list(rests) or 'nothing stored'}, {new} new changes"
    answer_ms = statistics.median(one["seconds"] for one in sent) * 1000
    return Outcome(scene.title, scene.expected, became, came_true, answer_ms, rest_ms)


async def _at_rest(
    posts: Sequence[bytes], database: "asyncpg.Connection[Any]", since: Any, *, wanted: bool
) -> Counter[str]:
    """How the webhooks with these bodies ended, once they all have."""
    digests = [sha256(post).digest() for post in posts]
    deadline = time.monotonic() + REST_SECONDS
    while True:
        rows = await database.fetch(
            """
            SELECT CASE WHEN processed THEN 'processed' ELSE state::text END AS rest
            FROM webhook_log WHERE digest = ANY($1) AND received_at >= $2
            """,
            digests,
            since,
        )
        rests = Counter(row["rest"] for row in rows)
        settled = rests["processed"] + rests["dead"]
        if not wanted or settled == len(posts) or time.monotonic() > deadline:
            return rests
        await asyncio.sleep(0.005)


async def _changes(database: "asyncpg.Connection[Any]") -> int:
    count: int = await database.fetchval("SELECT count(*) FROM webhook_changes")
    return count


def _list(counts: Counter[Any]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in counts.items())


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="What was sent, and what became of it", show_lines=False)
    table.add_column("sent", overflow="fold", ratio=4)
    table.add_column("expected", ratio=2)
    table.add_column("became", ratio=4)
    table.add_column("answered in", justify="right")
    table.add_column("at rest in", justify="right")
    table.add_column("", justify="center")
    for one in outcomes:
        rest = "" if one.rest_ms is None else f"{one.rest_ms:.0f} ms"
        mark = "[green]ok[/]" if one.came_true else "[bold red]NO[/]"
        table.add_row(one.title, one.expected, one.became, f"{one.answer_ms:.1f} ms", rest, mark)
    return table
