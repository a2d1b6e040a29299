"""Compare the status of each connection with its facts and with the events of its owner."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from deploy.local.chaos.ledger import Ledger
from shared.domain.facts import ConnectionStatus, status_of
from shared.store.connections import facts
from shared.store.pool import Conn


async def check_effects(ledger: Ledger, conn: Conn, events: Sequence[dict[str, Any]]) -> None:
    """Check each connection.

    Its status follows from its facts. The last event to its owner has this status. Each transition
    has one event.
    """
    rows = await conn.fetch(
        "SELECT waba_id, organization_id, state, reason FROM whatsapp_connections"
    )
    current_facts = await facts.current(conn, [row["waba_id"] for row in rows])
    differing = sum(
        status_of(current_facts[row["waba_id"]], is_owned=row["organization_id"] is not None)
        != ConnectionStatus(row["state"], row["reason"])
        for row in rows
    )
    ledger.add(differing, "unexpected", "connections have a status that their facts do not give")
    transitions = _transitions(events)
    unpublished = sum(
        _last_status(transitions.get((row["waba_id"], row["organization_id"]), []))
        != (row["state"], row["reason"])
        for row in rows
        if row["organization_id"] is not None
    )
    ledger.add(unpublished, "lost", "connections whose last event does not have their status")
    twice = sum(
        (event["type"], event["data"]) == (next_event["type"], next_event["data"])
        for path in transitions.values()
        for event, next_event in pairwise(path)
    )
    ledger.add(twice, "doubled", "transitions were published under two revisions")
    await _check_counts(ledger, conn)


def _transitions(
    events: Sequence[dict[str, Any]],
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the connection events by WABA and organization: each revision once, in order."""
    by_owner: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for event in events:
        if event["type"].startswith("connection."):
            path = by_owner.setdefault((event["waba_id"], event["organization_id"]), {})
            path[event["revision"]] = event
    return {key: [path[revision] for revision in sorted(path)] for key, path in by_owner.items()}


def _last_status(path: Sequence[dict[str, Any]]) -> tuple[str, str | None] | None:
    if not path:
        return None
    data = path[-1]["data"]
    return data["state"], data["reason"]


async def _check_counts(ledger: Ledger, conn: Conn) -> None:
    miscounted = await conn.fetchval(
        """
        SELECT count(*) FROM webhook_log
        WHERE state = 'split' AND (processed <> (changes_left = 0) OR changes_left <> (
            SELECT count(*) FROM webhook_changes
            WHERE webhook_id = webhook_log.id
                AND webhook_changes.state IN ('pending', 'failed', 'dead')
        ))
        """
    )
    ledger.add(miscounted, "unexpected", "webhooks have a wrong count of open changes")
