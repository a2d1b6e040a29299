"""One phone number of a WABA: what Meta says of it, what it still needs, and how it stands.

Each number has its own steps, limits and failures: none decides for another.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.facts import CUT, READ_AFTER, Fact, NumberLink
from shared.domain.graph_errors import (
    NUMBER_LIMITS,
    PIN_LIMITS,
    PIN_MISMATCH,
    GraphError,
    MetaThrottled,
    MetaUnavailable,
    RegisterUnanswered,
)
from shared.domain.remedies import Reason

#: `working`: messages flow. `waiting`: it is being set up, or will be tried again by itself.
#: `blocked`: somebody must act. `left_alone`: it is not ours to register. `unlinked`: its link to
#: the WhatsApp Business app was cut.
NumberState = Literal["working", "waiting", "blocked", "left_alone", "unlinked"]

#: Meta allows 10 register calls per number in 72 hours (Registration page). Of these, the wrong
#: PINs of a person are so few that one can still be mended.
REGISTER_WINDOW = timedelta(hours=72)
MAX_REGISTER_CALLS = 10
MAX_WRONG_PINS = 3
#: Meta's statuses of a number. A disconnected one was connected once.
_CONNECTED, _DISCONNECTED, _BANNED = "CONNECTED", "DISCONNECTED", "BANNED"
#: How long a call is repeated that Meta gives no answer to.
PATIENCE = timedelta(days=2)
#: Failures that another try cannot mend before their time.
LIMITS: tuple[Reason, ...] = ("register_limited", "pin_limited")
#: Failures that end when Meta tells something new about the number.
MENDED_AT_META: tuple[Reason, ...] = ("name_under_review", "not_verified", "number_deleted")
#: Failures that another PIN may mend.
PIN_FAILURES: tuple[Reason, ...] = ("pin_needed", "pin_wrong", "pin_or_lock")
#: Meta's words for the name of a number that may be registered.
_NAME_STANDS = frozenset({"approved", "available_without_review"})


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number as Meta reports it.

    `is_coexistence`: it is also on the WhatsApp Business app. We never register such a number.
    `is_registered`: it is connected to the Cloud API. `status` is Meta's word.
    """

    phone_number_id: str
    digits: str
    is_coexistence: bool
    is_registered: bool
    status: str = ""
    is_verified: bool = True

    @property
    def is_banned(self) -> bool:
        return self.status == _BANNED


@dataclass(frozen=True, slots=True)
class KnownNumber(PhoneNumber):
    """A number with what we did about it.

    `is_asked`: a person asked for its registration, or told its PIN. `failure` is why its last step
    failed, and `retry_at` when it is tried again without anyone's help. `register_calls` and
    `wrong_pins` are the times of those in REGISTER_WINDOW. `told` is the state that the company was
    told last. `link` is its link to the app.
    """

    is_asked: bool = False
    is_pin_given: bool = False
    failure: Reason | None = None
    retry_at: datetime | None = None
    attempts: int = 0
    register_calls: Sequence[datetime] = ()
    wrong_pins: Sequence[datetime] = ()
    told: str | None = None
    link: NumberLink = field(default_factory=NumberLink)

    @property
    def is_cloud(self) -> bool:
        """Whether it works without the app."""
        return self.is_registered and not self.is_coexistence

    def rests_until(self, now: datetime) -> datetime | None:
        """Return when its failed step is tried again; None: now, or not without a person."""
        is_later = self.failure is not None and self.retry_at is not None and self.retry_at > now
        return self.retry_at if is_later else None

    def pin_tries_left(self, now: datetime) -> int:
        return max(0, MAX_WRONG_PINS - len(_recent(self.wrong_pins, now)))

    def pin_refused_until(self, now: datetime) -> datetime | None:
        """Return until when no PIN is taken, because Meta would refuse it; None: one is."""
        until = _window_end(self.wrong_pins, MAX_WRONG_PINS, now)
        if until is None and self.failure in LIMITS:
            until = self.rests_until(now)
        return until or self.register_refused_until(now)

    def register_refused_until(self, now: datetime) -> datetime | None:
        """Return until when Meta allows no register call; None: it allows one."""
        return _window_end(self.register_calls, MAX_REGISTER_CALLS, now)


@dataclass(frozen=True, slots=True)
class Login:
    """What the customer chose in Meta's dialog. `phone_number_id` None: the dialog named none.

    `is_coexistence`: the number stays on the WhatsApp Business app.
    """

    phone_number_id: str | None = None
    is_coexistence: bool = False


@dataclass(frozen=True, slots=True)
class NumberFailure:
    """What follows a failed step of a number. `retry_after` None: not without a person."""

    reason: Reason
    retry_after: timedelta | None
    is_wrong_pin: bool = False


def app_numbers(numbers: Sequence[KnownNumber], login: Login) -> frozenset[str]:
    """Return the ids of the numbers to sync: those that Meta says are on the app.

    If it says so of none after a coexistence login, it may be late: then any of them may be.
    """
    on_app = frozenset(number.phone_number_id for number in numbers if number.is_coexistence)
    if on_app or not login.is_coexistence:
        return on_app
    return frozenset(number.phone_number_id for number in numbers if not number.is_asked)


def must_register(number: KnownNumber, login: Login) -> bool:
    """Return whether the number is to be registered: the one that the login named; another only if
    a person asked for it, or if Meta says that it is not connected.

    Registration sets the number's PIN and takes it from wherever it is connected.
    """
    if number.is_registered or number.is_coexistence:
        return False
    if number.is_asked:
        return True
    if login.is_coexistence:
        return False
    if login.phone_number_id is None:
        return number.status != _CONNECTED
    return number.phone_number_id == login.phone_number_id or number.status == _DISCONNECTED


def state_of(
    number: KnownNumber, *, is_left: bool, has_steps_left: bool
) -> tuple[NumberState, Reason | str | None]:
    """Return how the number stands, and why.

    `is_left`: it is neither to be registered nor synced. The reason of a cut link is Meta's word.
    """
    if (cut := number.link.cut) is not None:
        return "unlinked", cut.value
    if number.is_banned:
        return "blocked", "number_banned"
    if number.is_cloud:
        return "working", None
    if number.failure is not None:
        return ("blocked" if number.retry_at is None else "waiting"), number.failure
    if is_left:
        return "left_alone", None
    return ("waiting" if has_steps_left else "working"), None


def link_told(known: KnownNumber | None, listed: PhoneNumber, at: datetime) -> Fact | None:
    """Return what Meta's list says of the number's link to the app; None: nothing new.

    A number on the app has lost its link if Meta lists it as disconnected, or if it was connected
    and is not any more. One whose link was cut READ_AFTER ago has it again if it is connected.
    """
    cut = known.link.cut if known is not None else None
    if listed.is_registered:
        is_back = cut is not None and at >= cut.at + READ_AFTER
        return Fact("phone_link", "linked", at, listed.digits) if is_back else None
    is_on_app = listed.is_coexistence or (known is not None and known.is_coexistence)
    was_connected = known is not None and known.is_registered
    if cut is not None or not is_on_app or not (was_connected or listed.status == _DISCONNECTED):
        return None
    return Fact("phone_link", CUT, at, listed.digits)


def is_about_number(error: GraphError) -> bool:
    """Return whether a failed call about a number says nothing of its WABA's other numbers.

    A limit of the WABA, a dead token, a locked account or no answer at all concerns them all.
    """
    if isinstance(error, RegisterUnanswered):
        return True
    if isinstance(error, MetaThrottled):
        return error.code in NUMBER_LIMITS
    if isinstance(error, MetaUnavailable):
        return error.code is not None
    return not error.is_token_dead and error.reason not in _OF_THE_ACCOUNT


_OF_THE_ACCOUNT: Collection[Reason] = frozenset(
    {"reconnect", "checkpoint", "policy_block", "account_locked", "country_restricted",
     "payment_missing", "permission_missing", "not_found", "app_token_refused"}
)  # fmt: skip


def after_number_failure(
    number: KnownNumber, error: GraphError, retry_seconds: Sequence[int], now: datetime
) -> NumberFailure:
    """Decide what follows a failed step of the number.

    `retry_seconds` is the delay before each retry of a call whose answer tells nothing. The last is
    repeated for PATIENCE, except for a register call: each counts against Meta's limit.
    """
    if isinstance(error, MetaThrottled):
        if error.code not in PIN_LIMITS:
            return NumberFailure("register_limited", timedelta(seconds=error.seconds))
        # Once more after Meta's time; the same PIN would only prolong the limit.
        is_again = number.failure == "pin_limited"
        return NumberFailure("pin_limited", None if is_again else timedelta(seconds=error.seconds))
    if isinstance(error, MetaUnavailable):
        is_costly = isinstance(error, RegisterUnanswered)
        is_over = is_costly and number.attempts >= len(retry_seconds)
        after = None if is_over else _after_no_answer(number.attempts, retry_seconds)
        return NumberFailure(error.reason, after)
    is_wrong_pin = number.is_pin_given and (
        error.code == PIN_MISMATCH or error.reason == "pin_or_lock"
    )
    if not is_wrong_pin:
        return NumberFailure(error.reason, None)
    if number.pin_tries_left(now) <= 1:
        return NumberFailure("pin_limited", None, is_wrong_pin=True)
    reason = "pin_wrong" if error.code == PIN_MISMATCH else error.reason
    return NumberFailure(reason, None, is_wrong_pin=True)


def is_mended(before: KnownNumber, now: PhoneNumber, name_status: str | None) -> bool:
    """Return whether what Meta says of a number now mends its failure.

    `name_status` is Meta's word for its name, in lower case; None: not asked.
    """
    match before.failure:
        case "not_verified":
            return now.is_verified
        case "name_under_review":
            return name_status in _NAME_STANDS or before.status != now.status
        case "number_deleted":
            return before.status != now.status
    return False


def _after_no_answer(attempts: int, retry_seconds: Sequence[int]) -> timedelta | None:
    """Return the delay before the next retry; None if PATIENCE is over."""
    last = max(1, retry_seconds[-1])
    waited = sum(retry_seconds[:attempts]) + last * max(0, attempts - len(retry_seconds))
    if timedelta(seconds=waited) >= PATIENCE:
        return None
    return timedelta(seconds=retry_seconds[attempts] if attempts < len(retry_seconds) else last)


def _recent(times: Sequence[datetime], now: datetime) -> list[datetime]:
    return sorted(at for at in times if at > now - REGISTER_WINDOW)


def _window_end(times: Sequence[datetime], most: int, now: datetime) -> datetime | None:
    """Return when there are fewer than `most` of these times in the window; None: now."""
    recent = _recent(times, now)
    return recent[-most] + REGISTER_WINDOW if len(recent) >= most else None
