"""What is known of a connection, and the state that follows, in whatever order it was told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Literal

Name = Literal[
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
]
State = Literal["orphan", "provisioning", "active", "offboarded", "disconnected", "disabled"]

#: The values of a connection that lives; of two told for the same second, the other one holds: a
#: takedown that was missed costs more than one too many, which Meta can be asked about.
_LIVE = {"shared": "shared", "app": "installed", "phone_link": "linked", "ban": "none"}


@dataclass(frozen=True, slots=True)
class Fact:
    """`at` is when Meta sent it, never later than we received it. `digits`: of which number."""

    name: Name
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
class Standing:
    """A state, and the fact that decided it (None: nothing is amiss)."""

    state: State
    reason: str | None = None


def live(at: datetime) -> list[Fact]:
    """A share, an installation or a proof: whichever of them Meta sends, all of it holds."""
    return [Fact("shared", "shared", at), Fact("app", "installed", at),
            Fact("phone_link", "linked", at)]  # fmt: skip


def merge(*told: Iterable[Fact]) -> dict[tuple[Name, str], Fact]:
    """By name and digits the fact that holds: commutative, associative and idempotent."""
    holding: dict[tuple[Name, str], Fact] = {}
    for fact in chain(*told):
        known = holding.setdefault((fact.name, fact.digits), fact)
        if fact.rank > known.rank:
            holding[fact.name, fact.digits] = fact
    return holding


def standing(facts: Mapping[Name, str], *, is_owned: bool) -> Standing:
    """The state that follows from the values of a connection's own facts.

    A takedown comes before the question whose it is: what is gone cannot be claimed.
    """
    if "deleted" in facts:
        return Standing("disconnected", "deleted")
    if facts.get("ban") == "disabled":
        return Standing("disabled", "banned")
    for name in ("shared", "app", "phone_link"):
        if (found := facts.get(name, _LIVE[name])) != _LIVE[name]:
            is_offboarded = found == "offboarded"
            return Standing("offboarded" if is_offboarded else "disconnected", found)
    reason = "ban_scheduled" if facts.get("ban") == "scheduled" else None
    return Standing("provisioning" if is_owned else "orphan", reason)
