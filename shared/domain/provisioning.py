"""Decide the next step from a proven WABA to a working connection, and what follows a failure.

The order of the steps is Meta's (Onboarding customers as a Tech Provider; Onboarding business app
users, 2026).
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
from shared.domain.remedies import Reason

StepName = Literal[
    "read_numbers", "subscribe", "register", "sync_contacts", "sync_history",
    "deregister", "unsubscribe",
]  # fmt: skip
#: Why a follow-up is put off that waits for a webhook of its WABA.
AWAITING_WEBHOOK: Reason = "awaiting_webhook"
#: Meta accepts each sync once per onboarding, within 24 hours of it.
SYNCS: tuple[StepName, ...] = ("sync_contacts", "sync_history")

#: Meta sends contacts and history as soon as we request them, so we first wait until a webhook has
#: arrived. After this time we request them anyway: Meta repeats a webhook for 7 days, but it never
#: repeats a sync.
SYNC_ANYWAY = timedelta(hours=20)
#: The webhook about the share itself may be some hours older than the proof.
WEBHOOK_BEFORE_PROOF = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number as Meta reports it.

    `is_coexistence`: it is also on the WhatsApp Business app. We never register such a number.
    """

    phone_number_id: str
    digits: str
    is_coexistence: bool
    is_registered: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One call to Meta. `phone_number_id` is empty if the call is about the whole WABA."""

    name: StepName
    phone_number_id: str = ""


@dataclass(frozen=True, slots=True)
class AwaitWebhook:
    """The next step must wait until a webhook of this WABA has arrived."""


def next_step(
    numbers: Sequence[PhoneNumber], done: Collection[Step], *, webhooks_arrive: bool
) -> Step | AwaitWebhook | None:
    """Return the first step that is not done; None if all are done.

    `numbers` may be empty until the step `read_numbers` is done.
    """
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
    """Return whether the syncs need not wait any longer.

    True if the WABA's last webhook is at most WEBHOOK_BEFORE_PROOF older than its proof, or if
    SYNC_ANYWAY has passed since the proof.
    """
    if webhook_at is not None and webhook_at > proven_at - WEBHOOK_BEFORE_PROOF:
        return True
    return now > proven_at + SYNC_ANYWAY


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Retry after this many seconds. `is_counted` says whether the failed attempt counts."""

    after_seconds: float
    is_counted: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """A person must act first."""

    reason: Reason


#: How long we retry a call that Meta does not answer. When all `retry_seconds` are used, the last
#: is repeated.
PATIENCE = timedelta(days=2)


def after_failure(
    error: Exception, attempt: int, retry_seconds: Sequence[int], *, age: timedelta
) -> RetryLater | Blocked:
    """Decide what follows when attempt number `attempt` (from 1) of a follow-up failed.

    `retry_seconds` is the delay before each retry. `age` is the time since the follow-up was
    requested.
    """
    if isinstance(error, MetaThrottled):
        return RetryLater(error.seconds, is_counted=False)
    if isinstance(error, GraphError) and not isinstance(error, MetaUnavailable):
        return Blocked(error.reason)
    if attempt <= len(retry_seconds):
        return RetryLater(retry_seconds[attempt - 1], is_counted=True)
    is_cheap = isinstance(error, MetaUnavailable) and not isinstance(error, RegisterUnanswered)
    if is_cheap and age < PATIENCE:
        return RetryLater(retry_seconds[-1], is_counted=False)
    return Blocked(error.reason if isinstance(error, GraphError) else "failed")
