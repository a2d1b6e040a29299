"""The order of work that calls Meta: proofs first, reads last, and no kind starves."""

import asyncio
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from services.processor.follow_ups.context import FollowUpHandler, StepDone, StepOutcome
from services.processor.follow_ups.handlers import GRAPH_LOOPS
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.follow_ups.worker import FollowUpWorker
from shared.store import due
from shared.store.connections import follow_ups
from shared.store.connections.follow_ups import FollowUp, FollowUpKind
from shared.store.due import Lease
from shared.store.pool import Conn, Pool, transaction

READS = [str(700000 + number) for number in range(5000)]


class SlowReads:
    """Meta answers no read until `answers` is set, and everything else at once."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.done: list[tuple[str, str]] = []
        self.answers = asyncio.Event()

    @property
    def handlers(self) -> Mapping[FollowUpKind, FollowUpHandler]:
        kinds: tuple[FollowUpKind, ...] = ("prove", "provision", "disconnect", "read")
        return {kind: FollowUpHandler(self._run) for kind in kinds}

    async def _run(self, follow_up: FollowUp) -> StepOutcome:
        if follow_up.kind == "read":
            await self.answers.wait()
        async with transaction(self.pool) as conn:
            await follow_ups.fence(conn, follow_up)
            await follow_ups.end(conn, follow_up)
        self.done.append((follow_up.kind, follow_up.subject))
        return StepDone("done")


def workers(pool: Pool, handlers: Mapping[FollowUpKind, FollowUpHandler]) -> list[FollowUpWorker]:
    metrics = FollowUpMetrics(CollectorRegistry())
    return [FollowUpWorker(pool, handlers, (30,), metrics, kinds) for kinds in GRAPH_LOOPS]


async def test_a_proof_waits_for_no_read_however_many_and_slow_they_are(
    pool: Pool, conn: Conn
) -> None:
    meta = SlowReads(pool)
    loops = workers(pool, meta.handlers)
    await follow_ups.add(conn, "read", READS)
    reading = [asyncio.create_task(loop.work_once()) for loop in loops]
    done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [False]  # this loop takes no reads
    await follow_ups.add(conn, "prove", ["new customer"])
    assert await loops[0].work_once()
    assert meta.done == [("prove", "new customer")]
    meta.answers.set()
    assert all(await asyncio.gather(*(task for task in reading if task not in done)))


async def test_what_is_urgent_is_leased_first_and_reads_still_have_a_loop(conn: Conn) -> None:
    await follow_ups.add(conn, "read", READS)
    for kind in ("disconnect", "provision", "prove"):
        await follow_ups.add(conn, kind, [f"{kind} {number}" for number in range(9)])
    first = [await _kind(conn, kinds) for kinds in GRAPH_LOOPS]
    assert first == ["prove", "prove", "disconnect", "read"]
    assert {kinds.index("read") for kinds in GRAPH_LOOPS[1:]} == {0, 3}


async def _kind(conn: Conn, kinds: tuple[FollowUpKind, ...]) -> str:
    [lease] = (await due.lease_follow_up(conn, kinds)).leases
    return str(await conn.fetchval("SELECT kind::text FROM follow_ups WHERE id = $1", lease.id))


async def test_kinds_of_one_waba_are_worked_one_at_a_time_by_whichever_loop(conn: Conn) -> None:
    await follow_ups.add(conn, "read", ["71"])
    assert (await due.lease_follow_up(conn, GRAPH_LOOPS[3])).leases
    await follow_ups.add(conn, "provision", ["71"])
    assert not (await due.lease_follow_up(conn, GRAPH_LOOPS[0])).leases


async def test_a_step_that_is_voided_before_it_begins_gives_way_at_once(
    pool: Pool, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    """A disconnect right after `provision` must not wait until the lease lapses, 60 s later."""
    meta = SlowReads(pool)
    [loop, *_] = workers(pool, meta.handlers)
    await follow_ups.add(conn, "provision", ["71"])
    load = follow_ups.load

    async def disconnected_meanwhile(load_conn: Conn, lease: Lease) -> FollowUp | None:
        monkeypatch.undo()
        await follow_ups.close(conn, ["provision"], "71")
        await follow_ups.add(conn, "disconnect", ["71"])
        return await load(load_conn, lease)

    monkeypatch.setattr(follow_ups, "load", disconnected_meanwhile)
    assert await loop.work_once()
    assert await loop.work_once()
    assert meta.done == [("disconnect", "71")]
