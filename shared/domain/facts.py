"""What is known of a connection, and the state that follows, in whatever order it was told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Literal

FactName = Literal[
    "shared",
    "app",
    "phone_link",
    "ban",
    "deleted",
    "owner_business",
    "review",
    "restriction",
    "violation",
    "alert",
    "capability",
    "certification",
    "country",
    "pricing_tier",
    "ad_account",
    "marketing_terms",
    "international_pricing",
    "name",
    "quality",
    "pin",
    "history",
    "takedown",
    "setup",
    "webhook_received",
]
State = Literal["orphan", "provisioning", "active", "offboarded", "disconnected", "disabled"]

#: States in which a connection may come to work, or works.
LIVE: tuple[State, ...] = ("provisioning", "active")
#: The values of a connection that lives; of two told for the same second, the other one holds: a
#: takedown that was missed costs more than one too many, which Meta can be asked about.
_LIVE = {"shared": "shared", "app": "installed", "phone_link": "linked", "ban": "none"}
#: Facts whose takedown ends a connection's setup: what was set up before must be set up again.
_ENDING = frozenset((*_LIVE, "deleted"))
#: A ban that is announced has ended nothing yet.
_HARMLESS = frozenset({"scheduled"})
#: The value of `setup` when every step of provisioning is done; else the reason why it is stuck.
COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Fact:
    """`at` is when Meta sent it, never later than we received it. `digits`: of which number."""

    name: FactName
    value: str
    at: datetime
    digits: str = ""

    @property
    def is_takedown(self) -> bool:
        return self.value != _LIVE.get(self.name)

    @property
    def rank(self) -> tuple[datetime, bool, str]:
        """Of two facts of one name the one with the higher rank holds."""
        return self.at, self.is_takedown, self.value


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A state, and the fact that decided it (None: nothing is amiss)."""

    state: State
    reason: str | None = None


def live_facts(at: datetime) -> list[Fact]:
    """A share, an installation or a proof: whichever of them Meta sends, all of it holds."""
    return [Fact("shared", "shared", at), Fact("app", "installed", at),
            Fact("phone_link", "linked", at)]  # fmt: skip


def with_takedown(facts: Iterable[Fact]) -> list[Fact]:
    """The facts, and of each that ends something a `takedown`, which a later share leaves standing:
    so it is known whether the setup is older, in whatever order they came."""
    told = list(facts)
    ends = (f for f in told if f.name in _ENDING and f.is_takedown and f.value not in _HARMLESS)
    return told + [Fact("takedown", fact.value, fact.at) for fact in ends]


def merge(*told: Iterable[Fact]) -> dict[tuple[FactName, str], Fact]:
    """By name and digits the fact that holds: commutative, associative and idempotent."""
    holding: dict[tuple[FactName, str], Fact] = {}
    for fact in chain(*told):
        known = holding.setdefault((fact.name, fact.digits), fact)
        if fact.rank > known.rank:
            holding[fact.name, fact.digits] = fact
    return holding


def status_of(facts: Mapping[FactName, Fact], *, is_owned: bool) -> ConnectionStatus:
    """The state that follows from the facts that hold of the connection itself.

    A takedown comes before the question whose it is: what is gone cannot be claimed. Active is what
    was set up after the last takedown.
    """
    told = {name: fact.value for name, fact in facts.items()}
    if (down := _down(told)) is not None:
        return down
    reason = "ban_scheduled" if told.get("ban") == "scheduled" else None
    if not is_owned:
        return ConnectionStatus("orphan", reason)
    setup, takedown = facts.get("setup"), facts.get("takedown")
    if setup is None or (takedown is not None and takedown.at >= setup.at):
        return ConnectionStatus("provisioning", reason)
    if setup.value == COMPLETE:
        return ConnectionStatus("active", reason)
    return ConnectionStatus("provisioning", setup.value)


def _down(told: Mapping[FactName, str]) -> ConnectionStatus | None:
    if "deleted" in told:
        return ConnectionStatus("disconnected", "deleted")
    if told.get("ban") == "disabled":
        return ConnectionStatus("disabled", "banned")
    for name in _LINKS:
        if (found := told.get(name, _LIVE[name])) != _LIVE[name]:
            is_offboarded = found == "offboarded"
            return ConnectionStatus("offboarded" if is_offboarded else "disconnected", found)
    return None


_LINKS: tuple[FactName, ...] = ("shared", "app", "phone_link")
