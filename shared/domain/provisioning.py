"""From a proven WABA to a working connection: which step comes next, and what a failed one means.

The order is Meta's (Onboarding customers as a Tech Provider; Onboarding business app users, 2026).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.graph_errors import (
    GraphError,
    MetaThrottled,
    MetaUnavailable,
    RegisterUnanswered,
)

StepName = Literal[
    "read_numbers", "subscribe", "register", "sync_contacts", "sync_history",
    "deregister", "unsubscribe",
]  # fmt: skip
#: Meta takes each of them once for each onboarding, within 24 hours of it.
SYNCS: tuple[StepName, ...] = ("sync_contacts", "sync_history")

#: Contacts and history are sent at once when asked for, so first a webhook must have come; past
#: this they are asked for anyway, for Meta repeats a webhook for 7 days but a sync never.
SYNC_ANYWAY = timedelta(hours=20)
#: A webhook of the share itself may be some hours older than the proof.
WEBHOOK_BEFORE_PROOF = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number as Meta tells it; one that is also on the WhatsApp Business app is never registered
    by us."""

    phone_number_id: str
    digits: str
    is_coexistence: bool
    is_registered: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One call; `phone_number_id` is empty where it is about the whole WABA."""

    name: StepName
    phone_number_id: str = ""


@dataclass(frozen=True, slots=True)
class AwaitWebhook:
    """The next step must not be taken before a webhook of this WABA has come."""


def next_step(
    numbers: Sequence[PhoneNumber], done: Collection[Step], *, webhooks_arrive: bool
) -> Step | AwaitWebhook | None:
    """The first step that is not done; None when all are. `numbers` count once they were read."""
    for step in _plan(numbers):
        if step not in done:
            is_early = step.name in SYNCS and not webhooks_arrive
            return AwaitWebhook() if is_early else step
    return None


def _plan(numbers: Sequence[PhoneNumber]) -> Iterator[Step]:
    yield Step("read_numbers")
    yield Step("subscribe")
    for number in numbers:
        if not number.is_coexistence and not number.is_registered:
            yield Step("register", number.phone_number_id)
    for number in numbers:
        if number.is_coexistence:
            yield from (Step(sync, number.phone_number_id) for sync in SYNCS)


def webhooks_arrive(webhook_at: datetime | None, proven_at: datetime, now: datetime) -> bool:
    """Whether a webhook of this WABA came since about the time of its proof, or cannot be awaited
    any longer."""
    if webhook_at is not None and webhook_at > proven_at - WEBHOOK_BEFORE_PROOF:
        return True
    return now > proven_at + SYNC_ANYWAY


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again after so many seconds; `is_try` says whether this one counts."""

    after_seconds: float
    is_try: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """Somebody must do something first; `reason` is a word of shared/domain/remedies.py."""

    reason: str


#: How long a Meta that does not answer is asked again, at last at the longest delay.
PATIENCE = timedelta(days=2)


def after_failure(
    error: Exception, attempt: int, delays: Sequence[int], *, age: timedelta
) -> RetryLater | Blocked:
    """What becomes of a follow-up whose `attempt`-th try (from 1) failed, `age` after it was asked
    for."""
    if isinstance(error, MetaThrottled):
        return RetryLater(error.seconds, is_try=False)
    if isinstance(error, GraphError) and not isinstance(error, MetaUnavailable):
        return Blocked(error.reason)
    if attempt <= len(delays):
        return RetryLater(delays[attempt - 1], is_try=True)
    is_cheap = isinstance(error, MetaUnavailable) and not isinstance(error, RegisterUnanswered)
    if is_cheap and age < PATIENCE:
        return RetryLater(delays[-1], is_try=False)
    return Blocked(error.reason if isinstance(error, GraphError) else "failed")
