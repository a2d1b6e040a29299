"""Play the demo on a running stack. Print what was sent and how each webhook ended."""

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

from deploy.local.demo import attribution, canary, connecting, dying_token, told
from deploy.local.demo.story import Scene, scenes
from deploy.local.oracle import event_queue
from services.ingress.app import PATH
from shared.store.pool import Conn

DEADLINE_SECONDS = 20.0
#: The content of stack.json.
Stack = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    title: str
    expected: str
    result: str
    came_true: bool
    answer_ms: float
    end_ms: float | None = None


def play_demo(stack: Stack) -> bool:
    """Play every scene on the stack and print the tables. Return True if every scene came true."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    asyncio.run(event_queue.declare(stack["rabbitmq"]))
    outcomes = asyncio.run(_play(stack))
    console.print(_table(outcomes))
    ownership = asyncio.run(attribution.play(stack))
    console.print(attribution.table(ownership))
    connections = asyncio.run(connecting.play(stack))
    connections.append(asyncio.run(dying_token.play(stack)))
    console.print(connecting.table(connections))
    events = asyncio.run(told.told(stack))
    console.print(events.summary())
    search = asyncio.run(canary.search(stack))
    console.print(search.summary())
    came_true = [events.came_true, search.came_true, *(outcome.came_true for outcome in outcomes)]
    came_true += [outcome.came_true for outcome in ownership]
    came_true += [outcome.came_true for outcome in connections]
    console.print(f"{sum(came_true)} of {len(came_true)} scenes came true.")
    return all(came_true)


async def _play(stack: Stack) -> list[Outcome]:
    conn = await asyncpg.connect(stack["database"])
    try:
        async with aiohttp.ClientSession() as http:
            handshake = await _handshake(http, stack)
            played = [await _perform(scene, http, conn, stack) for scene in scenes()]
    finally:
        await conn.close()
    return [handshake, *played]


async def _handshake(http: aiohttp.ClientSession, stack: Stack) -> Outcome:
    """Check a callback URL as Meta does before it sends webhooks to it."""
    answers = []
    started = time.perf_counter()
    for token in (stack["verify_token"], "a wrong token"):
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
        async with http.get(stack["ingress"] + PATH, params=query) as answer:
            answers.append((answer.status, await answer.text()))
    came_true = answers[0] == (200, "1158201444") and answers[1][0] == 403
    return Outcome(
        "Meta's handshake, then one with a wrong token",
        "200 with the challenge, then 403",
        ", then ".join(str(status) for status, _ in answers),
        came_true,
        (time.perf_counter() - started) * 500,
    )


async def _perform(scene: Scene, http: aiohttp.ClientSession, conn: Conn, stack: Stack) -> Outcome:
    before = await _count_changes(conn)
    since = await conn.fetchval("SELECT clock_timestamp()")
    order = {
        "raw": [b64encode(post).decode() for post in scene.posts],
        "signature": scene.signature,
    }
    started = time.perf_counter()
    async with http.post(f"{stack['simulated_meta']}/simulator/webhooks", json=order) as answer:
        sent = (await answer.json())["sent"]
    end_states = await _end_states(scene.posts, conn, since, wanted=scene.end_state is not None)
    end_ms = (time.perf_counter() - started) * 1000 if scene.end_state else None
    new = await _count_changes(conn) - before
    statuses = Counter(webhook["status"] for webhook in sent)
    came_true = (
        set(statuses) == {scene.answer}
        and new == scene.new_changes
        and set(end_states) == ({scene.end_state} if scene.end_state else set())
        and sum(end_states.values()) == (len(scene.posts) if scene.end_state else 0)
    )
    result = f"{_list(statuses)}: {_list(end_states) or 'nothing stored'}, {new} new changes"
    answer_ms = statistics.median(webhook["seconds"] for webhook in sent) * 1000
    return Outcome(scene.title, scene.expected, result, came_true, answer_ms, end_ms)


async def _end_states(
    posts: Sequence[bytes], conn: Conn, since: Any, *, wanted: bool
) -> Counter[str]:
    """Wait until every webhook with these bodies is processed or dead. Count them by end state.

    Do not wait if no row is `wanted`. Return the states of the moment when the deadline is over.
    """
    digests = [sha256(post).digest() for post in posts]
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        rows = await conn.fetch(
            """
            SELECT CASE WHEN processed THEN 'processed' ELSE state::text END AS rest
            FROM webhook_log WHERE digest = ANY($1) AND received_at >= $2
            """,
            digests,
            since,
        )
        states = Counter(row["rest"] for row in rows)
        ended = states["processed"] + states["dead"]
        if not wanted or ended == len(posts) or time.monotonic() > deadline:
            return states
        await asyncio.sleep(0.005)


async def _count_changes(conn: Conn) -> int:
    count: int = await conn.fetchval("SELECT count(*) FROM webhook_changes")
    return count


def _list(counts: Counter[Any]) -> str:
    return ", ".join(f"{count} x {value}" for value, count in counts.items())


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="What was sent, and how it ended", show_lines=False)
    table.add_column("sent", overflow="fold", ratio=4)
    table.add_column("expected", ratio=2)
    table.add_column("result", ratio=4)
    table.add_column("answered in", justify="right")
    table.add_column("ended in", justify="right")
    table.add_column("", justify="center")
    for outcome in outcomes:
        answered = f"{outcome.answer_ms:.1f} ms"
        ended = "" if outcome.end_ms is None else f"{outcome.end_ms:.0f} ms"
        mark = "[green]ok[/]" if outcome.came_true else "[bold red]NO[/]"
        table.add_row(outcome.title, outcome.expected, outcome.result, answered, ended, mark)
    return table
