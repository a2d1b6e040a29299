"""What follow-ups work with, and how a try of one ends."""

from dataclasses import dataclass

from shared.crypto import KeyRing
from shared.domain.provisioning import Blocked
from shared.graph.client import Graph
from shared.store.pool import Pool


@dataclass(frozen=True, slots=True)
class FollowUpContext:
    """`ring` seals tokens and PINs."""

    pool: Pool
    ring: KeyRing
    graph: Graph


@dataclass(frozen=True, slots=True)
class StepDone:
    """The try's own transaction said what comes next; `what` is for the log."""

    what: str


@dataclass(frozen=True, slots=True)
class PutOff:
    """Try again after so many seconds; `is_try` says whether this one counts."""

    after_seconds: float
    reason: str
    is_try: bool


StepOutcome = StepDone | PutOff | Blocked
