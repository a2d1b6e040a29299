"""An item that cannot be stored exactly is kept alone as a dead letter. The rest is told."""

import json
from typing import Any

import orjson
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.processor.intake import due_rows
from shared.broker.topology import RAW
from shared.crypto import KeyRing
from shared.domain.splitting import Change, split
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import SplitChange
from shared.store.pool import Conn, Pool
from tests.integration.processor.test_events import own
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.command_line import porteiro
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.sending import NUMBER, WABA, message
from tests.support.waiting import eventually

BAD = {3, 500, 997}


def body_of_a_thousand() -> bytes:
    """Return a webhook of 1,000 messages; the text of three ends with half an emoji."""
    body = message(0)
    value = body["entry"][0]["changes"][0]["value"]
    [item] = value["messages"]
    value["messages"] = [
        item | {"id": f"wamid.{n}", "text": {"body": "oi \ud83d" if n in BAD else "oi"}}
        for n in range(1000)
    ]
    return json.dumps(body).encode()


async def test_three_bad_items_of_a_thousand_die_alone_and_are_replayed_once_mended(
    pool: Pool,
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
    ring: KeyRing,
    monkeypatch: MonkeyPatch,
) -> None:
    await own(pool)
    body = body_of_a_thousand()
    async with running.processor(environment):
        await broker.put(RAW, bundle(body, body))
        await until_states(conn, split=2)
        told = "SELECT count(*) FROM events WHERE type = 'change.messages'"
        assert await conn.fetchval(told) == 997
        letters = await conn.fetch("SELECT * FROM dead_letters")
        assert [(row["kind"], row["blame"], row["error"]) for row in letters] == [
            ("change", "meta", "unparsable: a lone surrogate")
        ] * 3
        ids = set()
        for row in letters:
            content = await changes.read_content(conn, ring, row["subject_id"])
            assert content is not None
            assert content.isascii()
            [item] = json.loads(content)["value"]["messages"]
            assert item["text"]["body"] == "oi \ud83d"
            ids.add(item["id"])
        assert ids == {f"wamid.{n}" for n in BAD}

        replay = ["dead-letters", "replay", "--reason", "tried", "--fingerprint"]
        code, log = await porteiro(*replay, letters[0]["fingerprint"])
        assert code == 0, log
        await eventually(lambda: conn.fetchval("SELECT count(*) = 6 FROM dead_letters"))
        assert await conn.fetchval("SELECT count(*) FROM dead_letters WHERE closed_at IS NULL") == 3

        monkeypatch.setattr(due_rows, "read_content", json.loads)  # as later code may
        code, log = await porteiro(*replay, letters[0]["fingerprint"])
        assert code == 0, log
        await eventually(lambda: conn.fetchval(told.replace("count(*)", "count(*) = 1000")))
        await eventually(
            lambda: conn.fetchval("SELECT count(*) = 0 FROM events WHERE published_at IS NULL")
        )
    assert await conn.fetchval("SELECT bool_and(processed) FROM webhook_log")


async def test_what_an_earlier_version_stored_whole_is_not_stored_again_in_parts(
    conn: Conn, ring: KeyRing
) -> None:
    echoes = [{"id": f"wamid.{n}", "to": "5511", "timestamp": "1"} for n in range(2)]
    value: dict[str, Any] = {"metadata": NUMBER, "message_echoes": echoes}
    change = {"field": "smb_message_echoes", "value": value}
    parts = split(orjson.dumps({"entry": [{"id": WABA, "changes": [change]}]}))
    webhook = make_webhook(write({}))
    await webhooks.insert(conn, ring, [make_webhook_row(webhook)])

    async def insert(*rows: Change) -> int:
        split_changes = [SplitChange(webhook.id, webhook.received_at, row) for row in rows]
        return len(await changes.insert(conn, ring, split_changes))

    await conn.execute("INSERT INTO old_keys VALUES ('\\x00000002')")
    await conn.execute(
        """
        INSERT INTO webhook_changes (id, webhook_id, received_at, key, state)
        VALUES (gen_random_uuid(), $1, now(), $2, 'processed')
        """,
        webhook.id,
        parts[0].whole_key,
    )
    assert await insert(*parts) == 0
    other = split(orjson.dumps({"entry": [{"id": "7", "changes": [change]}]}))
    assert await insert(*parts, *other) == 2
