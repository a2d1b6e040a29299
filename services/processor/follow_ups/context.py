"""What follow-ups need to run, and how an attempt of one ends."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from shared.crypto import KeyRing
from shared.domain.provisioning import Blocked
from shared.domain.remedies import Reason
from shared.graph.client import Graph
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, Pool


@dataclass(frozen=True, slots=True)
class FollowUpContext:
    """What every follow-up needs. `ring` seals tokens and PINs. `retry_seconds` is the delay before
    each retry of a call that failed."""

    pool: Pool
    ring: KeyRing
    graph: Graph
    retry_seconds: Sequence[int]


@dataclass(frozen=True, slots=True)
class StepDone:
    """The attempt succeeded and has already recorded what comes next. `outcome` is for the log."""

    outcome: str


@dataclass(frozen=True, slots=True)
class PutOff:
    """Attempt again after this many seconds. `is_counted`: the attempt counts."""

    after_seconds: float
    reason: Reason
    is_counted: bool


StepOutcome = StepDone | PutOff | Blocked


@dataclass(frozen=True, slots=True)
class FollowUpHandler:
    """What one kind of follow-up does.

    `run` makes the next step of a leased follow-up. `record_blocked` records on its subject, for
    people, why it is blocked; it locks what it changes. `is_awaited` returns whether something is
    held until it is done: then it is never blocked, but attempted again for ever.
    """

    run: Callable[[FollowUp], Awaitable[StepOutcome]]
    record_blocked: Callable[[Conn, str, Reason], Awaitable[None]] | None = None
    is_awaited: Callable[[Conn, str], Awaitable[bool]] | None = None
