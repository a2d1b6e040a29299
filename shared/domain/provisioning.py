"""Decide the next step from a proven WABA to a working connection, and what follows a failure.

The order of the steps is Meta's (Onboarding customers as a Tech Provider; Onboarding business app
users, 2026).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.facts import CUT
from shared.domain.graph_errors import (
    GraphError,
    MetaThrottled,
    MetaUnavailable,
    RegisterUnanswered,
)
from shared.domain.numbers import (
    PATIENCE,
    PIN_FAILURES,
    KnownNumber,
    Login,
    NumberState,
    app_numbers,
    must_register,
    state_of,
)
from shared.domain.remedies import Reason, is_reason

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
class Step:
    """One call to Meta. `phone_number_id` is empty if the call is about the whole WABA."""

    name: StepName
    phone_number_id: str = ""


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """How a number stands, and which steps it still needs. `is_early`: they wait for a webhook.

    `rests_until`: they are tried again then, without anyone's help.
    """

    number: KnownNumber
    state: NumberState
    reason: Reason | str | None
    steps: Sequence[Step] = ()
    is_early: bool = False
    rests_until: datetime | None = None

    @property
    def waits_for_pin(self) -> bool:
        """Whether a person's PIN may mend it."""
        return self.state == "blocked" and self.reason in PIN_FAILURES


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a connection now. `step` None: nothing.

    `works`: one of its numbers does. `waits_for` is what the next step waits for, until a webhook
    comes or, if `until` is not None, until then. `reason` is why none of its numbers works, though
    nothing can be done about it without a person.
    """

    step: Step | None
    works: bool
    waits_for: Reason | None = None
    until: datetime | None = None
    reason: Reason | None = None


def plan(
    numbers: Sequence[KnownNumber],
    done: Collection[Step],
    login: Login,
    *,
    webhooks_arrive: bool,
    now: datetime,
) -> Plan:
    """Return what to do next. The WABA's own steps come first, then those of its numbers, of which
    each goes its own way: one that fails or waits holds up no other.

    `numbers` may be empty until the step `read_numbers` is done.
    """
    for step in (Step("read_numbers"), Step("subscribe")):
        if step not in done:
            return Plan(step, works=False)
    plans = number_plans(numbers, done, login, webhooks_arrive=webhooks_arrive, now=now)
    works = any(each.state == "working" for each in plans)
    for each in plans:
        if each.steps and not each.is_early and each.rests_until is None:
            return Plan(each.steps[0], works=works)
    if any(each.is_early for each in plans):
        return Plan(None, works, AWAITING_WEBHOOK)
    rests = [each for each in plans if each.rests_until is not None]
    if rests:
        soonest = min(rests, key=lambda each: each.rests_until or now)
        reason = "numbers_wait" if works else _readable(soonest.reason)
        return Plan(None, works, reason, soonest.rests_until)
    return Plan(None, works, reason=None if works else why_none_works(plans))


def number_plans(
    numbers: Sequence[KnownNumber],
    done: Collection[Step],
    login: Login,
    *,
    webhooks_arrive: bool,
    now: datetime,
) -> list[NumberPlan]:
    """Return how each number stands and what it needs, the one that the login named first."""
    on_app = app_numbers(numbers, login)
    ordered = sorted(numbers, key=lambda number: number.phone_number_id != login.phone_number_id)
    plans = []
    for number in ordered:
        is_on_app = number.phone_number_id in on_app
        registers = not is_on_app and must_register(number, login)
        names = SYNCS if is_on_app else ("register",) if registers else ()
        steps = [Step(name, number.phone_number_id) for name in names]
        each = _number_plan(
            _stopped_beforehand(number, now) if registers else number,
            [step for step in steps if step not in done],
            is_left=not steps and not number.is_registered,
            now=now,
        )
        is_early = bool(each.steps) and is_on_app and not webhooks_arrive
        plans.append(replace(each, is_early=is_early))
    return plans


def _stopped_beforehand(number: KnownNumber, now: datetime) -> KnownNumber:
    """Return the number with the failure that a register call would have, as far as is known."""
    if number.is_pin_given and number.pin_tries_left(now) == 0:
        return replace(number, failure="pin_limited", retry_at=None)
    if number.failure is None and not number.is_verified:
        return replace(number, failure="not_verified", retry_at=None)
    if (until := number.register_refused_until(now)) is not None:
        return replace(number, failure="register_limited", retry_at=until)
    return number


def _number_plan(
    number: KnownNumber, steps: Sequence[Step], *, is_left: bool, now: datetime
) -> NumberPlan:
    state, reason = state_of(number, is_left=is_left, has_steps_left=bool(steps))
    rests_until = number.rests_until(now)
    has_failed = number.failure is not None and number.retry_at is None
    if has_failed or rests_until or state in ("blocked", "unlinked", "left_alone"):
        steps = []
    return NumberPlan(
        number, state, reason, steps, rests_until=rests_until if state == "waiting" else None
    )


def why_none_works(plans: Sequence[NumberPlan]) -> Reason:
    """Return the reason of the number that the login named, else of the first that has one."""
    reasons = [_readable(each.reason) for each in plans if each.reason is not None]
    if reasons:
        return reasons[0]
    if any(each.state == "waiting" for each in plans):
        return "numbers_wait"
    return "number_elsewhere" if plans else "no_number"


def _readable(reason: str | None) -> Reason:
    """A number's reason that is Meta's own word is that of a phone's link."""
    return reason if is_reason(reason) else CUT


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


def after_failure(
    error: Exception, attempt: int, retry_seconds: Sequence[int], *, age: timedelta
) -> RetryLater | Blocked:
    """Decide what follows when attempt number `attempt` (from 1) of a follow-up failed.

    `retry_seconds` is the delay before each retry; when all are used, the last is repeated for
    PATIENCE. `age` is the time since the follow-up was requested.
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
