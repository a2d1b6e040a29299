"""The facts of a connection and the state that follows from them, whatever order they came in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal

from shared.domain.remedies import BY_US

FactName = Literal[
    "shared",
    "app",
    "phone_link",
    "ban",
    "deleted",
    "reach",
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
    "waba_takedown",
    "setup",
    "webhook_received",
]
State = Literal["orphan", "provisioning", "active", "offboarded", "disconnected", "disabled"]

#: States in which a connection works or is being set up.
LIVE: tuple[State, ...] = ("provisioning", "active")
#: The values these facts have while a connection is live. If a live value and a takedown have the
#: same second, the takedown holds: to miss one costs more than a false one, which a read at Meta
#: corrects.
_LIVE_VALUES = {"shared": "shared", "app": "installed", "phone_link": "linked", "ban": "none",
                "deleted": "no", "reach": "reached"}  # fmt: skip
#: Facts whose takedown ends a connection's setup: it must be set up again afterwards.
_SETUP_ENDING = frozenset(_LIVE_VALUES)
#: A ban that is only announced has ended nothing yet.
_ANNOUNCED = frozenset({"scheduled"})
#: The value of `setup` when every provisioning step is done; otherwise it is the reason why the
#: setup is stuck.
COMPLETE = "complete"
#: What takes the whole WABA away, not one of its numbers, and what Meta can be read for.
_OF_THE_WABA: tuple[FactName, ...] = ("shared", "app", "deleted")
#: Facts that contradict each other within this time may have come in the wrong order.
CONFLICT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Fact:
    """One named value of a connection, or of its number `digits` if that is not empty.

    `at` is when Meta sent it, never later than we received it.
    """

    name: FactName
    value: str
    at: datetime
    digits: str = ""

    @property
    def is_takedown(self) -> bool:
        return self.value != _LIVE_VALUES.get(self.name)

    @property
    def rank(self) -> tuple[datetime, bool, str]:
        """Of two facts with the same name and digits, the one with the higher rank holds."""
        return self.at, self.is_takedown, self.value


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection's state, and what is wrong or about to go wrong.

    `reason` None: the state says everything.
    """

    state: State
    reason: str | None = None


def live_facts(at: datetime) -> list[Fact]:
    """Return the facts of a live connection.

    A share, an app installation or a proof each implies all of them.
    """
    return [Fact("shared", "shared", at), Fact("app", "installed", at),
            Fact("phone_link", "linked", at), Fact("deleted", "no", at),
            Fact("reach", "reached", at)]  # fmt: skip


def whole_second(at: datetime) -> datetime:
    """Return the time as Meta writes it. Only so can ours be compared with it."""
    return at.replace(microsecond=0)


def conflict(stored: Mapping[FactName, Fact], new: Iterable[Fact]) -> bool:
    """Return whether a new fact of the WABA contradicts a stored one that is at most CONFLICT older
    or newer."""
    for fact in new:
        other = stored.get(fact.name) if fact.name in _OF_THE_WABA else None
        is_close = other is not None and abs(fact.at - other.at) <= CONFLICT
        if is_close and other is not None and fact.is_takedown != other.is_takedown:
            return True
    return False


def with_takedown(facts: Iterable[Fact]) -> list[Fact]:
    """Return the facts, with an added `takedown` fact for each one that ends the setup.

    And a `waba_takedown` for each by which the customer took the whole WABA away. No later share
    overwrites these two. So we can tell whether the setup is older than the last takedown, and
    whether an era was in doubt, whatever order the facts came in.
    """
    listed = list(facts)
    ending = [
        fact
        for fact in listed
        if fact.name in _SETUP_ENDING and fact.is_takedown and fact.value not in _ANNOUNCED
    ]
    of_the_waba = [fact for fact in ending if fact.name in _OF_THE_WABA and fact.value != BY_US]
    return [
        *listed,
        *(Fact("takedown", fact.value, fact.at) for fact in ending),
        *(Fact("waba_takedown", fact.value, fact.at) for fact in of_the_waba),
    ]


def merge(*groups: Iterable[Fact]) -> dict[tuple[FactName, str], Fact]:
    """Return the fact that holds, by name and digits. Commutative, associative and idempotent."""
    current: dict[tuple[FactName, str], Fact] = {}
    for fact in chain(*groups):
        other = current.setdefault((fact.name, fact.digits), fact)
        if fact.rank > other.rank:
            current[fact.name, fact.digits] = fact
    return current


def status_of(facts: Mapping[FactName, Fact], *, is_owned: bool) -> ConnectionStatus:
    """Return the status that follows from the connection's current facts (not its numbers').

    A takedown is checked before ownership: a WABA that is gone cannot be claimed, so it is no
    orphan. A connection is active if its setup was completed after its last takedown.
    """
    values = {name: fact.value for name, fact in facts.items()}
    if (ended := _ended_status(values)) is not None:
        return ended
    reason = "ban_scheduled" if values.get("ban") == "scheduled" else None
    if not is_owned:
        return ConnectionStatus("orphan", reason)
    setup, takedown = facts.get("setup"), facts.get("takedown")
    if setup is None or (takedown is not None and takedown.at >= setup.at):
        return ConnectionStatus("provisioning", reason)
    if setup.value == COMPLETE:
        return ConnectionStatus("active", reason)
    return ConnectionStatus("provisioning", setup.value)


def _ended_status(values: Mapping[FactName, str]) -> ConnectionStatus | None:
    if values.get("deleted", "no") != "no":
        return ConnectionStatus("disconnected", "deleted")
    if values.get("ban") == "disabled":
        return ConnectionStatus("disabled", "banned")
    for name in _LINKS:
        if (value := values.get(name, _LIVE_VALUES[name])) != _LIVE_VALUES[name]:
            is_offboarded = value == "offboarded"
            return ConnectionStatus("offboarded" if is_offboarded else "disconnected", value)
    return None


_LINKS: tuple[FactName, ...] = ("shared", "app", "phone_link", "reach")
