"""Compare the stored changes with those that must come of what was sent."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from deploy.local.oracle.expected import ExpectedChange, Posted
from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Stored, StoredChange


@dataclass(frozen=True, slots=True)
class Pair:
    """A change that was sent, and its row.

    `is_certain` False: the row has no such content, but belongs to the change's webhook.
    """

    expected: ExpectedChange
    row: StoredChange
    is_certain: bool = True

    @property
    def is_processed(self) -> bool:
        return self.row.state == "processed"


@dataclass(frozen=True, slots=True)
class _Sent:
    """A change, and the bodies that have it."""

    change: ExpectedChange
    bodies: set[bytes]


def check_changes(
    ledger: Ledger, posted: Sequence[Posted], bodies: Mapping[UUID, bytes], stored: Stored
) -> list[Pair]:
    """Check each change of a webhook that is split, and that there is no other. Return the pairs.

    `bodies` is the sent body of each webhook's row.
    """
    sent: dict[bytes, _Sent] = {}
    for entry in posted:
        for change in entry.webhook.changes:
            sent.setdefault(change.content, _Sent(change, set())).bodies.add(entry.webhook.body)
    split = {bodies[row.id] for row in stored.webhooks if row.id in bodies and row.state == "split"}
    pairs = list(_pairs(ledger, sent, split, bodies, stored))
    received = {row.id: row.received_at for row in stored.webhooks}
    for pair in pairs:
        _check_columns(ledger, pair)
        _check_state(ledger, pair)
        if pair.row.received_at != received[pair.row.webhook_id]:
            ledger.find("time of receipt wrong")
    _check_people(ledger, pairs)
    return pairs


def _pairs(
    ledger: Ledger,
    sent: Mapping[bytes, _Sent],
    split: set[bytes],
    bodies: Mapping[UUID, bytes],
    stored: Stored,
) -> Iterator[Pair]:
    """Find the row of each change by its content or, if no row has that, a row of its webhook that
    has no other change's content: one that is alike, if there is one."""
    by_content: defaultdict[bytes, list[StoredChange]] = defaultdict(list)
    others: defaultdict[bytes | None, list[StoredChange]] = defaultdict(list)
    for row in stored.changes:
        content = row.content.plain
        if content is not None and content in sent:
            by_content[content].append(row)
        else:
            others[bodies.get(row.webhook_id)].append(row)
    for content, rows in by_content.items():
        ledger.find("change doubled", len(rows) - 1)
        if bodies.get(rows[0].webhook_id) not in sent[content].bodies:
            ledger.find("change of another webhook")
        yield Pair(sent[content].change, rows[0])
    missing = [change for content, change in sent.items() if content not in by_content]
    for must_be_alike in (True, False):
        still_missing = []
        for change in missing:
            other = _take_other(others, change, must_be_alike=must_be_alike)
            if other is None:
                still_missing.append(change)
                continue
            _check_content(ledger, other)
            yield Pair(change.change, other, is_certain=False)
        missing = still_missing
    ledger.find("change lost", sum(bool(change.bodies & split) for change in missing))
    ledger.find("change never sent", sum(map(len, others.values())))


def _take_other(
    others: Mapping[bytes | None, list[StoredChange]], sent: _Sent, *, must_be_alike: bool
) -> StoredChange | None:
    for rows in (others[body] for body in sent.bodies if body in others):
        for row in rows:
            if not must_be_alike or _columns(row) == _columns(sent.change):
                rows.remove(row)
                return row
    return None


def _columns(change: ExpectedChange | StoredChange) -> tuple[str | None, ...]:
    return change.field, change.event, change.waba_id, change.phone_number_id


def _check_content(ledger: Ledger, row: StoredChange) -> None:
    if row.content.is_unopenable:
        ledger.find("content cannot be opened")
    elif row.content.plain is None:
        ledger.find("content lost")
    else:
        ledger.find("content changed")


def _check_columns(ledger: Ledger, pair: Pair) -> None:
    expected, row = pair.expected, pair.row
    if (row.field, row.event) != (expected.field, expected.event):
        ledger.find("field or event wrong")
    if (row.waba_id, row.phone_number_id) != (expected.waba_id, expected.phone_number_id):
        ledger.find("WABA or number wrong")
    if row.organization_id is None and expected.organization_id is not None:
        ledger.find("organization lost")
    elif row.organization_id != expected.organization_id:
        ledger.find("organization wrong")


def _check_state(ledger: Ledger, pair: Pair) -> None:
    if pair.row.state in ("pending", "failed"):
        ledger.find("change not done")
    elif pair.row.state != ("processed" if pair.expected.is_readable else "dead"):
        ledger.find("change in a wrong state")
    elif pair.is_processed:
        ledger.processed += 1
    else:
        ledger.dead += 1


def _check_people(ledger: Ledger, pairs: Sequence[Pair]) -> None:
    """Check that the same person has the same hash everywhere, and different people have not.

    The version before hashed in another length.
    """
    hashes: dict[tuple[str, int], bytes] = {}
    people: dict[bytes, str] = {}
    for pair in filter(lambda pair: pair.is_certain, pairs):
        person, hashed = pair.expected.person, pair.row.people
        if person is None and not hashed:
            continue
        if person is None or len(hashed) != 1:
            ledger.find("person lost or mixed up")
            continue
        is_same = hashes.setdefault((person, len(hashed[0])), hashed[0]) == hashed[0]
        if not is_same or people.setdefault(hashed[0], person) != person:
            ledger.find("person lost or mixed up")
