"""The policies by which we wait for a server: what they retry, how long they pause, what ends them.

Migrations' and partitions' are in tests/integration/store/test_online_migrations.py.
"""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import pytest
from tenacity import AsyncRetrying

from services.console.code_exchange import until_meta_answers, until_saved
from services.processor.intake.group_worker import until_connected
from services.scheduler.jobs.batches import until_done
from shared.broker.connect import until_stopped
from shared.broker.consumer import until_handled
from shared.domain.graph_errors import MetaRefused, MetaUnavailable
from shared.errors import StartupRefused
from shared.store.errors import NotConnected

Policy = Callable[[], AsyncRetrying]


def batching() -> AsyncRetrying:
    return until_done("job.interrupted", "events")


def handling() -> AsyncRetrying:
    return until_handled("webhooks.dead")


async def pauses(policy: AsyncRetrying, *outcomes: BaseException | None) -> list[float]:
    """Run the policy on a call with these outcomes, in order. Return the pauses, in seconds."""
    slept: list[float] = []
    remaining = list(outcomes)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def call() -> None:
        if (outcome := remaining.pop(0)) is not None:
            raise outcome

    await policy.copy(sleep=sleep)(call)
    assert not remaining
    return slept


@pytest.mark.parametrize(
    ("policy", "error", "expected"),
    [
        (handling, KeyError(), [2, 2, 2]),
        (until_connected, NotConnected(), [0.1, 0.2, 0.4]),
        (until_saved, ConnectionError(), [0.5, 0.5, 0.5]),
        (until_meta_answers, MetaUnavailable("meta_unavailable"), [0.5, 0.5, 0.5]),
        (batching, asyncpg.DeadlockDetectedError(), [1, 2, 3]),
    ],
)
async def test_it_retries_until_it_succeeds(
    policy: Policy, error: Exception, expected: Sequence[float]
) -> None:
    assert await pauses(policy(), error, error, error, None) == expected


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (until_connected, asyncpg.QueryCanceledError()),
        (until_saved, KeyError()),
        (until_meta_answers, MetaRefused("code_refused")),
        (batching, KeyError()),
        (until_stopped, StartupRefused(["the topology is wrong"])),
        *(
            (policy, asyncio.CancelledError())
            for policy in (
                handling, until_connected, until_saved, until_meta_answers, batching, until_stopped
            )
        ),
    ],
)  # fmt: skip
async def test_it_raises_at_once_what_no_repetition_mends(
    policy: Policy, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        await pauses(policy(), error)


async def test_a_batch_that_is_always_interrupted_fails() -> None:
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await pauses(batching(), *[asyncpg.DeadlockDetectedError()] * 5)


async def test_a_lost_connection_is_made_again_for_ever() -> None:
    slept = await pauses_of_returns(until_stopped(), count=20)
    assert len(slept) == 20
    assert all(1 <= seconds <= 1.5 for seconds in slept)
    assert len(set(slept)) > 1, "all processes would come back at once"


async def pauses_of_returns(policy: AsyncRetrying, *, count: int) -> list[float]:
    """Run the policy on a call that returns each time, `count` times."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == count:
            raise asyncio.CancelledError

    async def call() -> None:
        pass

    with pytest.raises(asyncio.CancelledError):
        await policy.copy(sleep=sleep)(call)
    return slept
