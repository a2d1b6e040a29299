"""The facts of a connection and the state that follows from them, whatever order they came in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal

from shared.domain.remedies import BY_US, Reason

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
    "link_takedown",
    "waba_takedown",
    "setup",
    "webhook_received",
    "number_status",
    "number_quality",
    "number_name",
    "number_limit",
]
#: What a check reads of a number. A change of one is told.
NumberProperty = Literal["number_status", "number_quality", "number_name", "number_limit"]
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
#: Why a number's link was cut, where Meta says no more.
CUT: Reason = "account_disconnected"
#: What takes the whole WABA away, not one of its numbers, and what Meta can be read for.
_OF_THE_WABA: tuple[FactName, ...] = ("shared", "app", "deleted")
#: Facts that contradict each other within this time may have come in the wrong order.
CONFLICT = timedelta(minutes=10)
#: After a takedown of a live connection we ask Meta whether it is true. We wait this long: the
#: webhook's `time` is when Meta sent it, and Meta's answers to reads lag behind.
READ_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Fact:
    """One named value of a connection, or of its number `digits` if that is not empty.

    `digits` is the number's id where Meta names it by that alone.

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
    """Return the facts, with an added `takedown` or `link_takedown` fact for each one that ends the
    setup, of the WABA or of a number.

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
        *(_ending_fact(fact) for fact in ending),
        *(Fact("waba_takedown", fact.value, fact.at) for fact in of_the_waba),
    ]


def _ending_fact(fact: Fact) -> Fact:
    """A link to the app is a number's (of all on the app, if none is named); the rest is of the
    WABA."""
    if fact.name == "phone_link":
        return Fact("link_takedown", fact.value, fact.at, fact.digits)
    return Fact("takedown", fact.value, fact.at)


def merge(*groups: Iterable[Fact]) -> dict[tuple[FactName, str], Fact]:
    """Return the fact that holds, by name and digits. Commutative, associative and idempotent."""
    current: dict[tuple[FactName, str], Fact] = {}
    for fact in chain(*groups):
        other = current.setdefault((fact.name, fact.digits), fact)
        if fact.rank > other.rank:
            current[fact.name, fact.digits] = fact
    return current


@dataclass(frozen=True, slots=True)
class NumberLink:
    """What the facts say of a number's link to the WhatsApp Business app.

    `link` is the newest fact about it, None if there is none; `taken_down_at` is when it was last
    cut. Facts of the whole WABA's links count for each number that is on the app.
    """

    link: Fact | None = None
    taken_down_at: datetime | None = None

    @property
    def cut(self) -> Fact | None:
        """The fact that it is cut; None: it is not."""
        return self.link if self.link is not None and self.link.is_takedown else None


def link_of_number(
    about: Mapping[tuple[FactName, str], Fact], digits: str, *, is_cloud: bool
) -> NumberLink:
    """Return the link of the number. `about` has the facts about links, by name and digits.

    A cut that names no number is of those on the app; so it concerns no number that `is_cloud`.
    """
    links, cuts = (
        [about[name, key] for key in (digits, "") if (name, key) in about] for name in _ABOUT_LINKS
    )
    if is_cloud:
        links = [fact for fact in links if fact.digits or not fact.is_takedown]
        cuts = [fact for fact in cuts if fact.digits]
    link = max(links, key=lambda fact: fact.rank, default=None)
    return NumberLink(link, max((fact.at for fact in cuts), default=None))


_ABOUT_LINKS: tuple[FactName, FactName] = ("phone_link", "link_takedown")


def status_of(
    facts: Mapping[FactName, Fact], links: Sequence[NumberLink] = (), *, is_owned: bool
) -> ConnectionStatus:
    """Return the status that follows from the facts of the connection and of its numbers.

    A takedown is checked before ownership: a WABA that is gone cannot be claimed, so it is no
    orphan. A connection is active if its setup was completed after its last takedown; and while one
    of its numbers has its link, since before the setup, another's lost link takes nothing down.
    """
    links = links or [_link_of_the_waba(facts)]
    if (ended := _ended_status(facts, links)) is not None:
        return ended
    values = {name: fact.value for name, fact in facts.items()}
    reason = "ban_scheduled" if values.get("ban") == "scheduled" else None
    if not is_owned:
        return ConnectionStatus("orphan", reason)
    setup, takedown = facts.get("setup"), facts.get("takedown")
    cuts = [link.taken_down_at for link in links if link.cut is None]
    if (
        setup is None
        or (takedown is not None and takedown.at >= setup.at)
        or all(cut is not None and cut >= setup.at for cut in cuts)
    ):
        return ConnectionStatus("provisioning", reason)
    if setup.value == COMPLETE:
        return ConnectionStatus("active", reason)
    return ConnectionStatus("provisioning", setup.value)


def _link_of_the_waba(facts: Mapping[FactName, Fact]) -> NumberLink:
    cut = facts.get("link_takedown")
    return NumberLink(facts.get("phone_link"), cut.at if cut else None)


def _ended_status(
    facts: Mapping[FactName, Fact], links: Sequence[NumberLink]
) -> ConnectionStatus | None:
    values = {name: fact.value for name, fact in facts.items()}
    if values.get("deleted", "no") != "no":
        return ConnectionStatus("disconnected", "deleted")
    if values.get("ban") == "disabled":
        return ConnectionStatus("disabled", "banned")
    for name in _LINKS:
        if (value := values.get(name, _LIVE_VALUES[name])) != _LIVE_VALUES[name]:
            return ConnectionStatus("disconnected", value)
    cuts = [link.cut for link in links if link.cut is not None]
    if len(cuts) == len(links):
        last = max(cuts, key=lambda fact: fact.rank)
        is_offboarded = last.value == "offboarded"
        return ConnectionStatus("offboarded" if is_offboarded else "disconnected", last.value)
    return None


_LINKS: tuple[FactName, ...] = ("shared", "app", "reach")
