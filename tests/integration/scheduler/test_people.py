"""A person is found by each of their ids, before and after a rotation of either key."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from pytest import MonkeyPatch

from shared.crypto import KeyRing, SubjectHasher
from shared.domain.splitting import split
from shared.store import people
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn
from shared.store.texts import WHOLE_WEBHOOK
from tests.support.command_line import porteiro
from tests.support.environment import BODY_KEY, SUBJECT_KEY
from tests.support.keys import HASHER
from tests.support.payloads import bodies
from tests.support.samples import changes_of, make_webhook, make_webhook_row
from tests.support.sending import NUMBER, WABA

NEWER = SUBJECT_KEY[::-1]
GROUP = "120363000000000001"
#: Values of fields, and the ids of their people.
NAMED: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "messages",
        {"messages": [{"from": "5511987654321", "from_user_id": "BR.1"}],
         "contacts": [{"wa_id": "551187654321", "user_id": "BR.1", "parent_user_id": "BR.ENT.1"}]},
        ["5511987654321", "551187654321", "+55 (11) 98765-4321", "BR.1", "BR.ENT.1"],
    ),
    (
        "messages",
        {"statuses": [{"recipient_id": GROUP, "recipient_type": "group",
                       "recipient_participant_id": "16505550001"}]},
        ["16505550001"],
    ),
    (
        "history",
        {"history": [{"threads": [{"id": "16505550002", "messages": [{"from": "16505550003"}]}]}]},
        ["16505550002", "16505550003"],
    ),
    (
        "smb_app_state_sync",
        {"state_sync": [{"type": "contact", "contact": {"phone_number": "16505550004"}}]},
        ["16505550004"],
    ),
    ("calls", {"calls": [{"from": "16505550005", "event": "connect"}]}, ["16505550005"]),
    (
        "smb_message_echoes",
        {"message_echoes": [{"to": "16505550006", "to_user_id": "US.6"}]},
        ["16505550006", "US.6"],
    ),
    ("user_preferences", {"user_preferences": [{"wa_id": "16505550007"}]}, ["16505550007"]),
    (
        "user_id_update",
        {"user_id_update": [{"user_id": {"previous": "US.8", "current": "US.9"}}]},
        ["US.8", "US.9"],
    ),
    (
        "group_participants_update",
        {"groups": [{"added_participants": [{"input": "16505550010"}]}]},
        ["16505550010"],
    ),
]  # fmt: skip


async def store(conn: Conn, ring: KeyRing, field: str, value: dict[str, Any]) -> None:
    change = {"field": field, "value": {"metadata": NUMBER} | value}
    webhook = make_webhook(orjson.dumps({"entry": [{"id": WABA, "changes": [change]}]}))
    await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
    new = await changes.insert(conn, ring, changes_of(webhook, *split(webhook.body)))
    await people.add(conn, HASHER, new)


@pytest.mark.parametrize(("field", "value", "ids"), NAMED)
async def test_everyone_whom_a_change_names_is_found_by_each_id(
    conn: Conn, ring: KeyRing, field: str, value: dict[str, Any], ids: list[str]
) -> None:
    await store(conn, ring, field, value)
    rotated = SubjectHasher([bytes.fromhex(NEWER), bytes.fromhex(SUBJECT_KEY)])
    other_bodies = KeyRing([bytes.fromhex(NEWER)])
    for hasher, body_keys in ((HASHER, ring), (rotated, ring), (HASHER, other_bodies)):
        for person in ids:
            [found] = await people.find(conn, hasher, body_keys, person)
            assert (found.field, found.changes, found.contents) == (field, 1, 1)
    for stranger in (GROUP, "16505559999", "not an id"):
        assert await people.find(conn, HASHER, ring, stranger) == []
    await conn.execute("DELETE FROM webhook_changes")
    assert await conn.fetchval("SELECT count(*) FROM change_people") == 0


#: What looks like an id of a person.
ID = re.compile(r"\+?[0-9][0-9 ()-]{8,18}|[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{4,}")
#: The names of what looks so and is nobody's: times, the business's own, things.
OF_NOBODY = frozenset(
    "timestamp start_time end_time expiration_timestamp created_timestamp birthday catalog_id"
    " source_id signup_id client_business_id owner_business_id waba_id partner_app_id solution_id"
    " solution_partner_business_ids ad_account_linked display_phone_number phone_number_id".split()
)


def ids_in(value: Any, *path: str) -> Iterator[str]:
    """Yield what looks like a person's id in a change's value, wherever it is."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ids_in(inner, *path, name)
    elif isinstance(value, list):
        for inner in value:
            yield from ids_in(inner, *path)
    elif isinstance(value, str) and ID.fullmatch(value):
        is_a_thing = path[-1] == "id" and path[-2] != "threads"
        is_of_the_business = path == ("phone_number",)
        if not (path[-1] in OF_NOBODY or is_a_thing or is_of_the_business):
            yield value


async def test_everyone_in_every_payload_is_found_before_and_after_a_rotation(
    conn: Conn, ring: KeyRing
) -> None:
    """Payloads are ours and, where they are, those of public projects."""
    named: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for body in bodies().values():
        webhook = make_webhook(body)
        await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
        new = await changes.insert(conn, ring, changes_of(webhook, *split(body)))
        await people.add(conn, HASHER, new)
        for row in new:
            for person in set(ids_in(orjson.loads(row.change.content)["value"])):
                named[person][row.change.field or "unknown"] += 1
    assert named
    rotated = SubjectHasher([bytes.fromhex(NEWER), bytes.fromhex(SUBJECT_KEY)])
    other_bodies = KeyRing([bytes.fromhex(NEWER)])
    for person, fields in named.items():
        for hasher, body_keys in ((HASHER, ring), (rotated, ring), (HASHER, other_bodies)):
            found = await people.find(conn, hasher, body_keys, person)
            assert fields <= Counter({each.field: each.changes for each in found}), person


async def test_what_the_version_before_stored_is_found(conn: Conn, ring: KeyRing) -> None:
    await store(conn, ring, *NAMED[0][:2])
    await conn.execute("DELETE FROM change_people")
    assert await people.find(conn, HASHER, ring, "5511987654321") == []
    [old_hash] = ring.subject_hashes("5511987654321")
    await conn.execute("UPDATE webhook_changes SET subject_hash = $1", old_hash)
    rotated = KeyRing([bytes.fromhex(NEWER), bytes.fromhex(BODY_KEY)])
    [found] = await people.find(conn, HASHER, rotated, "5511987654321")
    assert found.changes == 1


async def test_the_command_counts_where_a_person_is_and_is_audited_without_naming_them(
    conn: Conn, ring: KeyRing, environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    await store(conn, ring, *NAMED[0][:2])
    code, shown = await porteiro(
        "people", "find", "+55 11 98765-4321", "--reason", "asked", "--json"
    )
    assert code == 0, shown
    assert '"field": "messages"' in shown
    assert '"changes": 1' in shown
    [entry] = await conn.fetch("SELECT * FROM audit_log")
    assert (entry["action"], entry["subject"], entry["reason"]) == (
        "people.found", "1 changes", "asked",
    )  # fmt: skip
    code, shown = await porteiro("people", "find", "nobody at all")
    assert (code, "NUMBER must be" in shown) == (78, True)


async def test_what_stands_inside_texts_is_counted_by_opening_what_is_stored(
    conn: Conn, ring: KeyRing, environment: dict[str, str]
) -> None:
    text = {"body": "secreto: +55 (11) 98765-4321 ou 551187654321, BR.44."}
    await store(conn, ring, "messages", {"messages": [{"from": "16505550001", "text": text}]})
    await store(conn, ring, "balloon_update", {"owner": "5511987654321"})
    await store(conn, KeyRing([bytes.fromhex(NEWER)]), "security", {"event": "x"})
    old = make_webhook(b"5511987654321", at=datetime.now(UTC) - timedelta(days=2))
    broken = make_webhook(b'{"from":"5511987654321')
    for webhook in (old, broken):
        await webhooks.insert(conn, ring, [make_webhook_row(webhook)])

    async def opened(person: str, since: str = "1d", *more: str) -> dict[str, tuple[int, int, int]]:
        code, shown = await porteiro(
            "people", "find-in-texts", person, "--since", since, *more, "--json"
        )
        assert code == 0, shown
        assert "secreto" not in shown
        return {
            row["kind"]: (row["found"], row["opened"], row["no_key_opens"])
            for row in orjson.loads(shown)
        }

    kinds = {"messages": (1, 1, 0), "balloon_update": (1, 1, 0), "security": (0, 0, 1)}
    for person in ("551187654321", "+55 11 98765-4321"):
        assert await opened(person) == kinds | {WHOLE_WEBHOOK: (3, 3, 1)}
    assert (await opened("551187654321", "3d"))[WHOLE_WEBHOOK] == (4, 4, 1)
    assert await opened("551187654321", "3d", "--until", "1d") == {WHOLE_WEBHOOK: (1, 1, 0)}
    assert (await opened("BR.44"))["messages"] == (1, 1, 0)
    assert (await opened("BR.4"))["messages"] == (0, 1, 0)
    [action] = {row["action"] for row in await conn.fetch("SELECT * FROM audit_log")}
    assert action == "people.opened"


async def test_rotate_keys_says_how_many_rest_on_an_old_key_and_when_the_last_is_gone(
    conn: Conn, ring: KeyRing, environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    await store(conn, ring, *NAMED[0][:2])
    code, log = await porteiro("rotate-keys", "--people")
    assert code == 0, log
    assert '"count":3' in log
    assert '"newest":true' in log
    monkeypatch.setenv("SUBJECT_HASH_KEY", NEWER)
    code, log = await porteiro("rotate-keys", "--people")
    assert code == 0, log
    assert '"newest":false' in log
    assert '"gone_at":"20' in log
