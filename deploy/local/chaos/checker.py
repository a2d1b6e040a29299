"""Joins what was sent with what is there and what was told: is anything lost, or done twice?"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from deploy.local.chaos.effects import check_effects
from deploy.local.chaos.ledger import Ledger
from shared.domain.account_changes import UnreadableChange, read_change
from shared.domain.facts import Fact, merge
from shared.domain.splitting import Change, Unparsable, split
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Posted:
    """A body (others may have the same), how often it was POSTed, how many were answered 200."""

    body: bytes
    posts: int
    acks: int


async def check(posted: Collection[Posted], database: Conn, told: Sequence[bytes]) -> Ledger:
    """`told` are the bodies of all events that reached a queue bound to every event."""
    ledger = Ledger(
        attempted=sum(one.posts for one in posted), acknowledged=sum(one.acks for one in posted)
    )
    await _check_webhooks(ledger, posted, database)
    expected = {c.key: c for one in posted if one.acks for c in _changes(one.body)}
    await _check_changes(ledger, expected, database)
    await _check_facts(ledger, expected, database)
    events = [orjson.loads(body) for body in told]
    await _check_events(ledger, database, events)
    if not ledger.pending:
        await check_effects(ledger, database, events)
    return ledger


def _changes(body: bytes) -> list[Change]:
    try:
        return split(body)
    except Unparsable:
        return []


async def _check_webhooks(ledger: Ledger, posted: Collection[Posted], database: Conn) -> None:
    """Each POST answered 200 has a row of its own, and there are no more rows than POSTs."""
    rows = await database.fetch(
        """
        SELECT digest, count(*) AS count, count(*) FILTER (WHERE state = 'unsplit') AS unsplit,
               count(*) FILTER (WHERE state = 'dead') AS dead
        FROM webhook_log GROUP BY digest
        """
    )
    found = {row["digest"]: row["count"] for row in rows}
    ledger.pending += sum(row["unsplit"] for row in rows)
    ledger.dead += sum(row["dead"] for row in rows)
    posts, acks = Counter[bytes](), Counter[bytes]()
    for one in posted:
        digest = sha256(one.body).digest()
        posts[digest] += one.posts
        acks[digest] += one.acks
    missing = (acks - Counter(found)).total()
    ledger.note(missing, "lost", "webhooks answered 200 that are nowhere")
    strange = sum(count for digest, count in found.items() if digest not in posts)
    ledger.note(strange, "unexpected", "webhooks that nobody sent")
    more = (Counter({d: found.get(d, 0) for d in posts}) - posts).total()
    ledger.note(more, "unexpected", "webhooks more than were POSTed")


async def _check_changes(ledger: Ledger, expected: Mapping[bytes, Change], database: Conn) -> None:
    states = {
        row["key"]: row["state"]
        for row in await database.fetch("SELECT key, state::text FROM webhook_changes")
    }
    counts = Counter(states.get(key) for key in expected)
    ledger.processed += counts["processed"]
    ledger.dead += counts["dead"]
    ledger.pending += counts["pending"] + counts["failed"]
    if not ledger.pending:  # else their webhooks may be those that wait
        ledger.note(counts[None], "lost", "changes of webhooks answered 200")


async def _check_facts(ledger: Ledger, expected: Mapping[bytes, Change], database: Conn) -> None:
    """What holds of each WABA is what the processed changes told, each taken in once or more."""
    rows = await database.fetch("SELECT key FROM webhook_changes WHERE state = 'processed'")
    told: dict[str, list[Fact]] = {}
    for row in rows:
        if (change := expected.get(row["key"])) is None:
            continue
        try:
            effects = read_change(orjson.loads(change.content), datetime.now(UTC))
        except UnreadableChange:
            continue
        if effects:
            told.setdefault(effects.waba_id, []).extend(effects.facts)
    held = {
        (row["waba_id"], row["name"], row["digits"]): (row["value"], row["at"])
        for row in await database.fetch("SELECT * FROM connection_facts")
    }
    differing = sum(
        held.get((waba_id, *place)) != (fact.value, fact.at)
        for waba_id, facts in told.items()
        for place, fact in merge(facts).items()
    )
    ledger.note(differing, "unexpected", "facts that are not what was told")


async def _check_events(ledger: Ledger, database: Conn, told: Sequence[dict[str, Any]]) -> None:
    rows = await database.fetch("SELECT id::text, published_at IS NULL AS waits FROM events")
    ledger.pending += sum(row["waits"] for row in rows)
    ids = Counter(event["id"] for event in told)
    ledger.redelivered = sum(count - 1 for count in ids.values())
    ledger.note(len(ids.keys() - {row["id"] for row in rows}), "unexpected", "events without a row")
    missing = sum(not row["waits"] and row["id"] not in ids for row in rows)
    ledger.note(missing, "lost", "events that no queue got")
    untold = await database.fetchval(
        """
        SELECT count(*) FROM webhook_changes
        WHERE state = 'processed' AND organization_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM events WHERE events.id = webhook_changes.id)
        """
    )
    ledger.note(untold, "lost", "changes of an owner without an event")
    by_subject: dict[bytes, set[str]] = {}
    for event in told:
        subject = {name: event[name] for name in ("type", "organization_id", "waba_id", "revision")}
        written = orjson.dumps([subject, event["data"]], option=orjson.OPT_SORT_KEYS)
        by_subject.setdefault(written, set()).add(event["id"])
    doubled = sum(len(found) - 1 for found in by_subject.values())
    ledger.note(doubled, "doubled", "events under a second id")
