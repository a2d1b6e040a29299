"""Compare the POSTed webhooks with the rows and the published events: find losses."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from deploy.local.chaos.connection_checker import check_effects
from deploy.local.chaos.ledger import Ledger
from shared.domain.account_changes import UnreadableChange, read_change
from shared.domain.facts import Fact, merge
from shared.domain.splitting import Change, Unparsable, split
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Posted:
    """A body, the count of its POSTs, and how many of them were answered 200.

    Several entries may have the same body.
    """

    body: bytes
    posts: int
    accepted: int


async def check(posted: Collection[Posted], conn: Conn, event_bodies: Sequence[bytes]) -> Ledger:
    """Return the ledger of a run.

    `event_bodies` are all events that reached a queue bound to every routing key.
    """
    ledger = Ledger(
        attempted=sum(entry.posts for entry in posted),
        acknowledged=sum(entry.accepted for entry in posted),
    )
    await _check_webhooks(ledger, posted, conn)
    expected = {c.key: c for entry in posted if entry.accepted for c in _changes(entry.body)}
    await _check_changes(ledger, expected, conn)
    await _check_facts(ledger, expected, conn)
    events = [orjson.loads(body) for body in event_bodies]
    await _check_events(ledger, conn, events)
    if not ledger.pending:
        await check_effects(ledger, conn, events)
    return ledger


def _changes(body: bytes) -> list[Change]:
    try:
        return split(body)
    except Unparsable:
        return []


async def _check_webhooks(ledger: Ledger, posted: Collection[Posted], conn: Conn) -> None:
    """Check that each POST answered 200 has its own row, and that rows are not more than POSTs."""
    rows = await conn.fetch(
        """
        SELECT digest, count(*) AS count, count(*) FILTER (WHERE state = 'unsplit') AS unsplit,
               count(*) FILTER (WHERE state = 'dead') AS dead
        FROM webhook_log GROUP BY digest
        """
    )
    stored = {row["digest"]: row["count"] for row in rows}
    ledger.pending += sum(row["unsplit"] for row in rows)
    ledger.dead += sum(row["dead"] for row in rows)
    posts, accepted = Counter[bytes](), Counter[bytes]()
    for entry in posted:
        digest = sha256(entry.body).digest()
        posts[digest] += entry.posts
        accepted[digest] += entry.accepted
    missing = (accepted - Counter(stored)).total()
    ledger.add(missing, "lost", "webhooks were answered 200 but have no row")
    never_sent = sum(count for digest, count in stored.items() if digest not in posts)
    ledger.add(never_sent, "unexpected", "rows of webhooks that were never sent")
    surplus = (Counter({d: stored.get(d, 0) for d in posts}) - posts).total()
    ledger.add(surplus, "unexpected", "more rows than POSTs of the same webhook")


async def _check_changes(ledger: Ledger, expected: Mapping[bytes, Change], conn: Conn) -> None:
    states = {
        row["key"]: row["state"]
        for row in await conn.fetch("SELECT key, state::text FROM webhook_changes")
    }
    counts = Counter(states.get(key) for key in expected)
    ledger.processed += counts["processed"]
    ledger.dead += counts["dead"]
    ledger.pending += counts["pending"] + counts["failed"]
    if not ledger.pending:  # A pending webhook may not be split yet: its changes have no rows.
        ledger.add(counts[None], "lost", "changes of webhooks answered 200 have no row")


async def _check_facts(ledger: Ledger, expected: Mapping[bytes, Change], conn: Conn) -> None:
    """Check that the facts of each WABA are the merged facts of its processed changes."""
    rows = await conn.fetch("SELECT key FROM webhook_changes WHERE state = 'processed'")
    expected_facts: dict[str, list[Fact]] = {}
    for row in rows:
        if (change := expected.get(row["key"])) is None:
            continue
        try:
            effects = read_change(orjson.loads(change.content), datetime.now(UTC), app_id="")
        except UnreadableChange:
            continue
        if effects:
            expected_facts.setdefault(effects.waba_id, []).extend(effects.facts)
    stored = {
        (row["waba_id"], row["name"], row["digits"]): (row["value"], row["at"])
        for row in await conn.fetch("SELECT * FROM connection_facts")
    }
    differing = sum(
        stored.get((waba_id, *name_and_digits)) != (fact.value, fact.at)
        for waba_id, facts in expected_facts.items()
        for name_and_digits, fact in merge(facts).items()
    )
    ledger.add(differing, "unexpected", "facts differ from those of the processed changes")


async def _check_events(ledger: Ledger, conn: Conn, events: Sequence[dict[str, Any]]) -> None:
    rows = await conn.fetch("SELECT id::text, published_at IS NULL AS waits FROM events")
    ledger.pending += sum(row["waits"] for row in rows)
    ids = Counter(event["id"] for event in events)
    ledger.redelivered = sum(count - 1 for count in ids.values())
    without_row = len(ids.keys() - {row["id"] for row in rows})
    ledger.add(without_row, "unexpected", "published events have no row")
    missing = sum(not row["waits"] and row["id"] not in ids for row in rows)
    ledger.add(missing, "lost", "events are marked as published but no queue has them")
    without_event = await conn.fetchval(
        """
        SELECT count(*) FROM webhook_changes
        WHERE state = 'processed' AND organization_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM events WHERE events.id = webhook_changes.id)
        """
    )
    ledger.add(without_event, "lost", "processed changes with an owner have no event")
    ids_by_content: dict[bytes, set[str]] = {}
    for event in events:
        subject = {name: event[name] for name in ("type", "organization_id", "waba_id", "revision")}
        content = orjson.dumps([subject, event["data"]], option=orjson.OPT_SORT_KEYS)
        ids_by_content.setdefault(content, set()).add(event["id"])
    doubled = sum(len(event_ids) - 1 for event_ids in ids_by_content.values())
    ledger.add(doubled, "doubled", "events were published again under another id")
