"""Judge what a check of a connection found: the token's state, why, and when to ask again.

"Meta said no" and "we could not ask" differ: only an answer changes a state, and a bad one only if
it is given twice. The end of a token that Meta told before is such an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.graph_errors import CustomerMustAct, GraphError, MetaRefused

TokenState = Literal["none", "valid", "expiring", "expired", "revoked", "unknown"]
#: What is wrong with a connection's token, or with what it reaches. Each has its remedy.
Complaint = Literal[
    "token_revoked", "token_expired", "data_access_ended", "scope_missing", "target_missing",
    "subscription_lost",
]  # fmt: skip
_STATE_OF: dict[Complaint, TokenState] = {
    "token_revoked": "revoked",
    "token_expired": "expired",
    "data_access_ended": "expired",
    "scope_missing": "revoked",
    "target_missing": "revoked",
    "subscription_lost": "valid",
}
DEAD: tuple[TokenState, ...] = ("expired", "revoked")
HealthEvent = Literal["token_expiring", "token_expired", "token_revoked", "token_recovered"]

#: Between two checks of a connection that is well, or known to be dead.
CHECK_EVERY = timedelta(days=1)
#: After one bad answer; an answer that comes earlier does not count as the second one.
DOUBT = timedelta(minutes=5)
#: After Meta could not be asked.
ASK_AGAIN = timedelta(minutes=15)
#: A token is renewed, and its end is told, from this time before its end on.
EXPIRING = timedelta(days=14)
#: The company is told once when so many days are left, at most.
DAYS_TOLD = (1, 3, 7, 14)
#: `debug_token` counts against the limit of the whole app, so it is asked rarely.
DEBUG_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class TokenHealth:
    """What is known of a connection's token. `doubt` is a bad answer that was given once.

    `bad_since` is when the first bad answer in a row was given; None too if Meta had told the end
    before. `told` is what the company was told
    last: days left, as text, or the state of a dead token; None: nothing that still holds.
    `expires_at` and `data_access_ends_at` None: never, or Meta does not tell.
    """

    state: TokenState
    reason: Complaint | None = None
    doubt: Complaint | None = None
    bad_since: datetime | None = None
    told: str | None = None
    expires_at: datetime | None = None
    data_access_ends_at: datetime | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When it stops working, unless it is renewed."""
        ends = [at for at in (self.expires_at, self.data_access_ends_at) if at is not None]
        return min(ends, default=None)

    def is_renewable(self, now: datetime) -> bool:
        """Return whether another token is to be fetched: this one is dead, or soon will be."""
        return self.state in DEAD or (self.ends_at is not None and self.ends_at <= now + EXPIRING)


@dataclass(frozen=True, slots=True)
class MetaAnswer:
    """Meta was asked. `complaint` None: all is well."""

    complaint: Complaint | None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Meta could not be asked. `seconds`: it may be asked again after that time at the earliest."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NothingSaid:
    """Meta refused, but not because of the token: a restricted account, a request of ours that is
    wrong."""


Finding = MetaAnswer | NothingSaid | NoAnswer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a check. `event` is to be told to the company."""

    health: TokenHealth
    next_check_at: datetime
    event: HealthEvent | None = None


def judge(
    known: TokenHealth, finding: Finding, now: datetime, *, is_suspended: bool = False
) -> Verdict:
    """Return what follows from what a check found.

    `is_suspended`: many connections turn bad at the same time, so this is more likely to be Meta's
    fault. Then a new bad answer is noted as a doubt, and nothing else changes.
    """
    if isinstance(finding, NoAnswer):  # an end that Meta told before comes without an answer
        verdict = judge(known, NothingSaid(), now, is_suspended=is_suspended)
        rest = max(ASK_AGAIN, timedelta(seconds=finding.seconds))
        return replace(verdict, next_check_at=_due_at(known, now, rest))
    ended = _ended(known, now)
    if isinstance(finding, NothingSaid) and ended is None:
        return Verdict(known, _due_at(known, now, CHECK_EVERY))
    complaint = ended or (finding.complaint if isinstance(finding, MetaAnswer) else None)
    if complaint is None:
        state = _living_state(known, now)
        return _tell(replace(known, state=state, reason=None, doubt=None, bad_since=None), now)
    is_certain = ended is not None or is_known(known, complaint)
    if is_suspended and is_certain:
        return Verdict(known, now + ASK_AGAIN)
    bad_since = known.bad_since
    if not is_certain:
        if known.doubt is None or bad_since is None:
            bad_since = now
        if is_suspended or now < bad_since + DOUBT:
            after = now + ASK_AGAIN if is_suspended else bad_since + DOUBT
            return Verdict(replace(known, doubt=complaint, bad_since=bad_since), after)
    state = _STATE_OF[complaint]
    if state == "valid":
        state = _living_state(known, now)
    return _tell(
        replace(known, state=state, reason=complaint, doubt=None, bad_since=bad_since), now
    )


def is_known(known: TokenHealth, complaint: Complaint) -> bool:
    """Return whether a bad answer tells nothing new."""
    is_dead = known.state in DEAD and _STATE_OF[complaint] == known.state
    return known.reason == complaint or is_dead


def _ended(known: TokenHealth, now: datetime) -> Complaint | None:
    """Return why the token ended by the times that Meta gave for it."""
    if known.expires_at is not None and known.expires_at <= now:
        return "token_expired"
    if known.data_access_ends_at is not None and known.data_access_ends_at <= now:
        return "data_access_ended"
    return None


def _living_state(known: TokenHealth, now: datetime) -> TokenState:
    is_expiring = known.ends_at is not None and known.ends_at <= now + EXPIRING
    return "expiring" if is_expiring else "valid"


def _tell(health: TokenHealth, now: datetime) -> Verdict:
    """Decide what the company is told."""
    due_at = _due_at(health, now, CHECK_EVERY)
    if health.state in DEAD:
        event: HealthEvent = "token_expired" if health.state == "expired" else "token_revoked"
        is_new = health.told != health.state
        return Verdict(replace(health, told=health.state), due_at, event if is_new else None)
    if health.told in DEAD:
        return Verdict(replace(health, told=None), due_at, "token_recovered")
    days = _days_told(health.ends_at, now)
    is_new = days is not None and (health.told is None or days < int(health.told))
    told = None if days is None else str(days) if is_new else health.told
    return Verdict(replace(health, told=told), due_at, "token_expiring" if is_new else None)


def _due_at(health: TokenHealth, now: datetime, after: timedelta) -> datetime:
    """Return when to ask again: after that time, or when the token ends."""
    if health.ends_at is not None and health.ends_at > now:
        return min(now + after, health.ends_at)
    return now + after


def _days_told(ends_at: datetime | None, now: datetime) -> int | None:
    if ends_at is None:
        return None
    return next((days for days in DAYS_TOLD if ends_at <= now + timedelta(days=days)), None)


def needs_debug(
    known: TokenHealth, finding: Finding, debugged_at: datetime | None, now: datetime
) -> bool:
    """Return whether `debug_token` is to be asked: once a week, near an end, or for a refusal."""
    if isinstance(finding, NoAnswer):
        return False
    if isinstance(finding, MetaAnswer) and finding.complaint in ("token_revoked", "token_expired"):
        return True
    is_near = known.ends_at is not None and known.ends_at <= now + EXPIRING
    return is_near or debugged_at is None or debugged_at <= now - DEBUG_EVERY


def lives_longer(known: TokenHealth, ends_at: datetime | None) -> bool:
    """Return whether another token, valid until `ends_at` (None: for ever), is the better one."""
    if known.state in DEAD:
        return True
    return known.ends_at is not None and (ends_at is None or ends_at > known.ends_at)


def refusal(error: GraphError) -> Finding:
    """Return what it says of a connection that Meta refused a call with its token.

    A refusal for another reason says nothing of its token.
    """
    if not isinstance(error, CustomerMustAct | MetaRefused):
        return NoAnswer(float(getattr(error, "seconds", 0.0)))
    if error.code in (190, 452):
        return MetaAnswer("token_expired" if error.is_token_expired else "token_revoked")
    if error.reason == "permission_missing":
        return MetaAnswer("scope_missing")
    if error.reason in ("not_found", "number_deleted"):
        return MetaAnswer("target_missing")
    return NothingSaid()


#: Fleets smaller than this are never suspended: two connections that die are no outage.
_MIN_FLEET = 3


def is_suspicious(hour_checked: int, hour_bad: int, last_bad: Sequence[bool]) -> bool:
    """Return whether so many connections turn bad at once that it is more likely Meta's fault.

    Of the last hour's checks more than 5 % and more than 10 turned bad, doubts counted; or half of
    the last checks, of up to 10 different connections (`last_bad`).
    """
    if hour_bad > 10 and hour_bad * 20 > hour_checked:
        return True
    return len(last_bad) >= _MIN_FLEET and 2 * sum(last_bad) >= len(last_bad)
