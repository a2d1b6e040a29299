"""What must come of the webhooks that a storm sends, as their sender knows it.

The sender knows what Meta documents and who owns each WABA. It knows nothing of our code: a fault
there must not become what is expected (the import rules in pyproject.toml hold this).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class ExpectedFact:
    """What a change says of a WABA, or of its number `digits`."""

    name: str
    value: str
    at: datetime
    digits: str = ""
    is_takedown: bool = False


@dataclass(frozen=True, slots=True)
class ExpectedChange:
    """A change that must be stored, byte by byte, and be told to `organization_id`.

    `organization_id` None: it is nobody's, and told to nobody. `is_readable` False: it must end
    dead, with a letter. `person` is whose id must be findable by its hash.
    """

    content: bytes
    field: str
    event: str | None
    waba_id: str | None
    organization_id: str | None
    phone_number_id: str | None = None
    person: str | None = None
    facts: tuple[ExpectedFact, ...] = ()
    is_readable: bool = True


@dataclass(frozen=True, slots=True)
class ExpectedWebhook:
    """The body of a webhook, and its changes. None: it is no JSON and must end dead, with a letter.

    Two webhooks may have the same change: it must be stored and told once.
    """

    body: bytes
    changes: Sequence[ExpectedChange]


class ExpectedEra(NamedTuple):
    organization_id: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class ExpectedConnection:
    """A WABA and its owners.

    `told` is who is told how the connection stands, None: nobody. `history` are the organizations
    and types of the events before the first webhook. `proven_at` is when each owner proved it.
    """

    waba_id: str
    told: str | None = None
    attribution: str = "no_owner_known"
    eras: Sequence[ExpectedEra] = ()
    history: Sequence[tuple[str, str]] = ()
    proven_at: datetime | None = None

    @property
    def organization_id(self) -> str | None:
        """The organization that gets the changes: that of the open era."""
        return next((era.organization_id for era in self.eras if era.is_open), None)


class Posted(NamedTuple):
    """A webhook, the count of its POSTs, and how many of them were answered 200."""

    webhook: ExpectedWebhook
    posts: int
    accepted: int


def content(entry: Mapping[str, Any], field: str, value: Any) -> bytes:
    """Return a change as it must be stored and told: canonical JSON, with the keys sorted.

    Of the entry it has `id` and `time`.
    """
    header = {name: entry[name] for name in ("id", "time") if name in entry}
    whole = {"entry": header, "field": field, "value": value}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
