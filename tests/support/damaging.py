"""Damage a sound run: its rows, the events that were told, or the sender's record."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson
from uuid_utils.compat import uuid7

from deploy.local.oracle.bodies import WABAS, broken
from deploy.local.oracle.event_queue import Told
from deploy.local.oracle.expected import Posted
from shared.crypto import KeyRing, associated_data
from shared.store.pool import Conn
from tests.support.environment import BODY_KEY, TOKEN_KEY

OWNED, OTHER, NOBODYS, BATCHED = WABAS[0], WABAS[1], WABAS[6], WABAS[7]
OWNER, OTHER_OWNER = f"org-{OWNED}", f"org-{OTHER}"
_RING, OTHER_RING = KeyRing([bytes.fromhex(BODY_KEY)]), KeyRing([bytes.fromhex(TOKEN_KEY)])

#: A message of an organization, a message of nobody, their webhooks, and another webhook.
MESSAGE = (
    f"(SELECT id FROM webhook_changes WHERE field = 'messages' AND waba_id = '{OWNED}'"
    " ORDER BY id LIMIT 1)"
)
UNOWNED = f"(SELECT id FROM webhook_changes WHERE field = 'messages' AND waba_id = '{NOBODYS}')"
UNOWNED_WEBHOOK = f"(SELECT webhook_id FROM webhook_changes WHERE id = {UNOWNED})"
ANOTHER_WEBHOOK = f"(SELECT webhook_id FROM webhook_changes WHERE id = {MESSAGE})"
STATUS = f"(SELECT id FROM webhook_changes WHERE event = 'delivered' AND waba_id = '{BATCHED}')"
QUALITY = "(SELECT id FROM webhook_changes WHERE field = 'phone_number_quality_update')"
FIRST_TRANSITION = f"(SELECT id FROM events WHERE waba_id = '{OWNED}' AND revision = 2)"
DEAD = "(SELECT id FROM webhook_changes WHERE state = 'dead')"
#: The last transition of the first WABA.
TRANSITION = (
    f"(SELECT id FROM events WHERE type LIKE 'connection.%' AND waba_id = '{OWNED}'"
    " ORDER BY revision DESC LIMIT 1)"
)


@dataclass(frozen=True, slots=True)
class Damage:
    """What happens to the rows, to the events that were told and to the sender's record.

    `findings` is what the checker must find of it, joined by " + "; and nothing else.
    """

    findings: str
    rows: str | Callable[[Conn], Awaitable[None]] = ""
    told: Callable[[Sequence[Told]], Sequence[Told]] = list
    posted: Callable[[Sequence[Posted]], Sequence[Posted]] = list

    @property
    def expected(self) -> set[str]:
        return set(filter(None, self.findings.split(" + ")))


def deleted(table: str, row: str) -> str:
    return f"DELETE FROM {table} WHERE id = {row}"


def deleted_of_waba(table: str, waba_id: str = OWNED) -> str:
    return f"DELETE FROM {table} WHERE waba_id = '{waba_id}'"


def change(column: str, value: str, row: str = UNOWNED) -> str:
    return f"UPDATE webhook_changes SET {column} = {value} WHERE id = {row}"


def person_hash(value: str, row: str = UNOWNED) -> str:
    return f"UPDATE change_people SET hash = {value} WHERE change_id = {row}"


def webhook(assignments: str) -> str:
    return f"UPDATE webhook_log SET {assignments} WHERE id = {UNOWNED_WEBHOOK}"


def flipped(column: str) -> str:
    """Return the bytes of the column with one bit inverted."""
    return f"set_byte({column}, 40, get_byte({column}, 40) # 1)"


def of_waba(table: str, assignments: str, waba_id: str = OWNED) -> str:
    return f"UPDATE {table} SET {assignments} WHERE waba_id = '{waba_id}'"


def left_open(state: str, change: str = UNOWNED) -> str:
    """Return the statements that leave a change open in this state, and count it."""
    return f"""
        UPDATE webhook_log SET processed = false, changes_left = 1
        WHERE id = (SELECT webhook_id FROM webhook_changes WHERE id = {change});
        UPDATE webhook_changes SET state = '{state}' WHERE id = {change};
    """


def reseal(
    table: str, column: str, row: str, old: bytes, new: bytes, ring: KeyRing = _RING
) -> Callable[[Conn], Awaitable[None]]:
    """Seal a row's bytes anew, with `new` instead of `old` in them."""

    async def run(conn: Conn) -> None:
        record = await conn.fetchrow(f"SELECT id, {column} AS sealed FROM {table} WHERE id = {row}")
        assert record is not None
        binding = associated_data(table, record["id"].bytes, column)
        plain = _RING.open(record["sealed"], binding)
        assert old in plain
        sealed = ring.seal(plain.replace(old, new), binding)
        await conn.execute(f"UPDATE {table} SET {column} = $2 WHERE id = $1", record["id"], sealed)

    return run


async def double_change(conn: Conn) -> None:
    """Store a change a second time, under another key."""
    record = await conn.fetchrow(f"SELECT id, content FROM webhook_changes WHERE id = {UNOWNED}")
    assert record is not None
    id_ = uuid7()
    plain = _RING.open(
        record["content"], associated_data("webhook_changes", record["id"].bytes, "content")
    )
    await conn.execute(
        """
        INSERT INTO webhook_changes (id, webhook_id, received_at, key, field, event, waba_id,
                                     phone_number_id, state, content)
        SELECT $2, webhook_id, received_at, 'x', field, event, waba_id, phone_number_id,
               state, $3
        FROM webhook_changes WHERE id = $1
        """,
        record["id"],
        id_,
        _RING.seal(plain, associated_data("webhook_changes", id_.bytes, "content")),
    )


def is_message(told: Told) -> bool:
    return told.routing_key == "change.messages" and OWNED.encode() in told.body


def is_transition(told: Told) -> bool:
    return told.routing_key.startswith("connection.") and OWNED.encode() in told.body


def chosen(told: Sequence[Told], which: Callable[[Told], bool]) -> Told:
    """Return the event of MESSAGE or of TRANSITION."""
    events = [one for one in told if which(one)]
    if which is is_transition:
        return max(events, key=lambda one: int(orjson.loads(one.body)["revision"]))
    return min(events, key=lambda one: one.message_id or "")


def retold(told: Told, **changed: object) -> Told:
    event = orjson.loads(told.body) | changed
    message_id = changed.get("id", told.message_id)
    return Told(str(event["type"]), str(message_id), orjson.dumps(event))


def otherwise(
    which: Callable[[Told], bool] = is_message, **changed: object
) -> Callable[..., Sequence[Told]]:
    """Tell an event otherwise."""

    def run(told: Sequence[Told]) -> Sequence[Told]:
        picked = chosen(told, which)
        return [retold(one, **changed) if one is picked else one for one in told]

    return run


def again(
    which: Callable[[Told], bool] = is_message, **changed: object
) -> Callable[..., Sequence[Told]]:
    """Tell an event once more, otherwise."""
    return lambda told: [*told, retold(chosen(told, which), **changed)]


def untold(which: Callable[[Told], bool] = is_message) -> Callable[..., Sequence[Told]]:
    return lambda told: [one for one in told if one is not chosen(told, which)]


def without_contact(told: Sequence[Told]) -> Sequence[Told]:
    picked = chosen(told, is_message)
    data = orjson.loads(picked.body)["data"]
    del data["value"]["contacts"]
    return [retold(one, data=data) if one is picked else one for one in told]


def is_first_transition(told: Told) -> bool:
    return is_transition(told) and b'"revision":2,' in told.body


def with_data(
    which: Callable[[Told], bool], kind: str | None = None, **changed: str
) -> Callable[..., Sequence[Told]]:
    """Tell a transition with other data, and perhaps as another type."""

    def run(told: Sequence[Told]) -> Sequence[Told]:
        picked = chosen(told, which)
        event = orjson.loads(picked.body)
        again = retold(picked, type=kind or event["type"], data=event["data"] | changed)
        return [again if one is picked else one for one in told]

    return run


def repeated(told: Sequence[Told]) -> Sequence[Told]:
    """Tell the last transition once more, as a new one."""
    picked = chosen(told, is_transition)
    revision = orjson.loads(picked.body)["revision"] + 1
    return [*told, retold(picked, id=ANOTHER_ID, revision=revision)]


def misaddressed(told: Sequence[Told]) -> Sequence[Told]:
    picked = chosen(told, is_message)
    return [one._replace(routing_key="change") if one is picked else one for one in told]


def counted(posts: int, accepted: int) -> Callable[[Sequence[Posted]], Sequence[Posted]]:
    """Let the first webhook have been sent and answered 200 so often."""
    return lambda posted: [Posted(posted[0].webhook, posts, accepted), *posted[1:]]


def also_sent(accepted: int) -> Callable[[Sequence[Posted]], Sequence[Posted]]:
    return lambda posted: [*posted, Posted(broken(999), 1, accepted)]


ANOTHER_ID = "0190a3b4-0000-7000-8000-000000000001"
TRANSITION_OF_NOBODY = f"""
    INSERT INTO events (id, type, organization_id, waba_id, revision, data, published_at)
    SELECT '{ANOTHER_ID}', type, organization_id, '{NOBODYS}', revision, data, now()
    FROM events WHERE id = {FIRST_TRANSITION}
"""
EVENT_OF_NOBODY = f"""
    INSERT INTO events (id, type, organization_id, waba_id, published_at)
    SELECT id, 'change.messages', '{OWNER}', waba_id, now() FROM webhook_changes
    WHERE id = {UNOWNED}
"""
AS_TRANSITION = "UPDATE events SET {} WHERE id = " + TRANSITION
CHANGE, WEBHOOK = (
    "UPDATE webhook_changes SET {} WHERE id = ",
    "UPDATE webhook_log SET {} WHERE id = ",
)
FLIPPED = "{0} = set_byte({0}, 40, get_byte({0}, 40) # 1)"
