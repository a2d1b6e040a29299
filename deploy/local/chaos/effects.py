"""Joins how connections stand with their facts, and with what their owners were told."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from deploy.local.chaos.ledger import Ledger
from shared.domain.facts import ConnectionStatus, status_of
from shared.store.connections import facts
from shared.store.pool import Conn


async def check_effects(ledger: Ledger, database: Conn, told: Sequence[dict[str, Any]]) -> None:
    """Each connection stands as its facts say; its owner was told so, and of each step once."""
    rows = await database.fetch(
        "SELECT waba_id, organization_id, state, reason FROM whatsapp_connections"
    )
    known = await facts.current(database, [row["waba_id"] for row in rows])
    otherwise = sum(
        status_of(known[row["waba_id"]], is_owned=row["organization_id"] is not None)
        != ConnectionStatus(row["state"], row["reason"])
        for row in rows
    )
    ledger.note(otherwise, "unexpected", "connections that stand otherwise than their facts say")
    steps = _steps(told)
    untold = sum(
        _last(steps.get((row["waba_id"], row["organization_id"]), []))
        != (row["state"], row["reason"])
        for row in rows
        if row["organization_id"] is not None
    )
    ledger.note(untold, "lost", "connections whose owner was not told how they stand")
    twice = sum(
        (one["type"], one["data"]) == (next_["type"], next_["data"])
        for path in steps.values()
        for one, next_ in pairwise(path)
    )
    ledger.note(twice, "doubled", "transitions under two revisions")
    await _check_counts(ledger, database)


def _steps(told: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By WABA and organization what was told of the connection, each revision once, in order."""
    steps: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for event in told:
        if event["type"].startswith("connection."):
            path = steps.setdefault((event["waba_id"], event["organization_id"]), {})
            path[event["revision"]] = event
    return {place: [path[revision] for revision in sorted(path)] for place, path in steps.items()}


def _last(path: Sequence[dict[str, Any]]) -> tuple[str, str | None] | None:
    if not path:
        return None
    data = path[-1]["data"]
    return data["state"], data["reason"]


async def _check_counts(ledger: Ledger, database: Conn) -> None:
    miscounted = await database.fetchval(
        """
        SELECT count(*) FROM webhook_log
        WHERE state = 'split' AND (processed <> (changes_left = 0) OR changes_left <> (
            SELECT count(*) FROM webhook_changes
            WHERE webhook_id = webhook_log.id
                AND webhook_changes.state IN ('pending', 'failed', 'dead')
        ))
        """
    )
    ledger.note(miscounted, "unexpected", "webhooks whose open changes are miscounted")
