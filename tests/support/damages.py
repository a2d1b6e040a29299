"""Every damage that the checker must find, and under which words."""

from deploy.local.oracle.bodies import FORMER, TAKEN_OVER
from deploy.local.oracle.expected import Posted
from tests.support.damaging import (
    ANOTHER_ID,
    ANOTHER_WEBHOOK,
    DEAD,
    EVENT_OF_NOBODY,
    FIRST_TRANSITION,
    MESSAGE,
    NOBODYS,
    OTHER,
    OTHER_OWNER,
    OTHER_RING,
    OWNED,
    OWNER,
    QUALITY,
    STATUS,
    TRANSITION,
    TRANSITION_OF_NOBODY,
    UNOWNED,
    UNOWNED_WEBHOOK,
    Damage,
    again,
    also_sent,
    change,
    counted,
    deleted,
    deleted_of_waba,
    double_change,
    flipped,
    is_first_transition,
    is_transition,
    left_open,
    misaddressed,
    of_waba,
    otherwise,
    person_hash,
    repeated,
    reseal,
    untold,
    webhook,
    with_data,
    without_contact,
)

#: The name of each damage, and the damage.
DAMAGES: dict[str, Damage] = {
    "nothing": Damage(""),
    "an event told again under its id": Damage("", told=again()),
    "a 503 though it was stored": Damage("", posted=counted(1, 0)),
    "a 503, and not stored": Damage("", posted=also_sent(0)),
    # webhooks
    "a webhook is gone": Damage("webhook lost", deleted("webhook_log", UNOWNED_WEBHOOK)),
    "a 200, and not stored": Damage("webhook lost", posted=also_sent(1)),
    "a 503, but stored twice": Damage(
        "webhook doubled", posted=lambda posted: [
        Posted(entry.webhook, 1, 0) if entry.posts > 1 else entry for entry in posted
        ],
    ),
    "a webhook that was not sent": Damage(
        "change never sent + event nobody is owed + webhook never sent",
        posted=lambda posted: posted[1:],
    ),
    "a body is gone": Damage("body lost", deleted("webhook_bodies", UNOWNED_WEBHOOK)),
    "all bodies are gone": Damage("body lost", "DELETE FROM webhook_bodies"),
    "a byte of a body": Damage(
        "body changed",
        reseal("webhook_bodies", "body", UNOWNED_WEBHOOK, b"messages", b"messageS"),
    ),
    "a damaged envelope of a body": Damage(
        "body cannot be opened", f"UPDATE webhook_bodies SET body = {flipped('body')}"
        f" WHERE id = {UNOWNED_WEBHOOK}",
    ),
    "another webhook's envelope": Damage(
        "body cannot be opened",
        "UPDATE webhook_bodies SET body = (SELECT body FROM webhook_bodies WHERE id ="
        f" {ANOTHER_WEBHOOK}) WHERE id = {UNOWNED_WEBHOOK}",
    ),
    "another digest": Damage("digest changed", webhook("digest = sha256('x')")),
    "a webhook is not split": Damage(
        "webhook not split", webhook("state = 'unsplit', processed = false")
        + f"; DELETE FROM webhook_changes WHERE id = {UNOWNED}",
    ),
    "a webhook is discarded": Damage(
        "webhook in a wrong state", webhook("state = 'discarded', processed = false"),
    ),
    "processed, with a dead change": Damage(
        "processed wrong", "UPDATE webhook_log SET processed = true WHERE changes_left > 0",
    ),
    "done, but not processed": Damage("processed wrong", webhook("processed = false")),
    "a wrong count": Damage("count of open changes wrong", webhook("changes_left = 7")),
    # changes
    "a change is gone": Damage("change lost", deleted("webhook_changes", UNOWNED)),
    "a change is gone that was told": Damage(
        "change lost + event nobody is owed", deleted("webhook_changes", MESSAGE),
    ),
    "a change twice": Damage("change doubled", double_change),
    "a change of another webhook": Damage(
        "change of another webhook",
        change("(webhook_id, received_at)", "(SELECT id, received_at FROM webhook_log"
        f" WHERE id = {ANOTHER_WEBHOOK})"),
    ),
    "another field": Damage("field or event wrong", change("field", "'calls'")),
    "no event": Damage("field or event wrong", change("event", "NULL")),
    "another WABA": Damage("WABA or number wrong", change("waba_id", "'1'")),
    "no number": Damage("WABA or number wrong", change("phone_number_id", "NULL")),
    "another time": Damage("time of receipt wrong", change("received_at", "now()")),
    "a person that cannot be found": Damage(
        "person lost or mixed up", f"DELETE FROM change_people WHERE change_id = {UNOWNED}",
    ),
    "two people with one hash": Damage(
        "person lost or mixed up",
        person_hash(f"(SELECT hash FROM change_people WHERE change_id = {MESSAGE})"),
    ),
    "one person with two hashes": Damage(
        "person lost or mixed up", person_hash("substr(sha256(hash), 1, 20)", STATUS),
    ),
    "no organization": Damage("organization lost", change("organization_id", "NULL", MESSAGE)),
    "an organization's changes are another's": Damage(
        "organization wrong", f"UPDATE webhook_changes SET organization_id = '{OTHER_OWNER}'"
        f" WHERE organization_id = '{OWNER}'",
    ),
    "nobody's change has an organization": Damage(
        "organization wrong", change("organization_id", f"'{OWNER}'"),
    ),
    "a former owner has a change": Damage(
        "organization wrong", f"UPDATE webhook_changes SET organization_id = 'former-{FORMER}'"
        f" WHERE waba_id = '{FORMER}'",
    ),
    "the former owner has the next one's changes": Damage(
        "organization wrong",
        f"UPDATE webhook_changes SET organization_id = 'former-{TAKEN_OVER}'"
        f" WHERE waba_id = '{TAKEN_OVER}'",
    ),
    "a content is gone that nobody was told": Damage("content lost", change("content", "NULL")),
    "all contents are gone": Damage("content lost", "UPDATE webhook_changes SET content = NULL"),
    "a damaged envelope of a content": Damage(
        "content cannot be opened", change("content", flipped("content")),
    ),
    "a content under another key": Damage(
        "content cannot be opened",
        reseal("webhook_changes", "content", UNOWNED, b"", b"", OTHER_RING),
    ),
    "a content without its contact": Damage(
        "content changed",
        reseal("webhook_changes", "content", UNOWNED, b'"contacts":[{', b'"none":[{'),
    ),
    "a pending change": Damage("change not done", left_open("pending")),
    "a pending change that will be told": Damage(
        "change not done",
        left_open("pending", MESSAGE) + f"DELETE FROM events WHERE id = {MESSAGE}", untold(),
    ),
    "a failed change that will have effects": Damage(
        "change not done", left_open("failed", QUALITY) + "DELETE FROM phone_numbers;"
        "DELETE FROM connection_facts WHERE name = 'quality'",
    ),
    "a failed change": Damage("change not done", left_open("failed")),
    "a discarded change": Damage("change in a wrong state", change("state", "'discarded'")),
    # letters
    "a change dies without a letter": Damage(
        "change in a wrong state + dead without a letter", left_open("dead"),
    ),
    "all letters are gone": Damage("dead without a letter", "DELETE FROM dead_letters"),
    "a letter is closed, its change is dead": Damage(
        "dead without a letter", "UPDATE dead_letters SET closed_at = now(), outcome = 'replayed'"
        " WHERE kind = 'change'",
    ),
    "two letters of one change": Damage(
        "letter doubled",
        "DROP INDEX dead_letters_open_idx; INSERT INTO dead_letters (id, kind, subject_id,"
        " webhook_id, blame, error, fingerprint, attempts, first_failed_at)"
        f" SELECT '{ANOTHER_ID}', kind, subject_id, webhook_id, blame, error, fingerprint,"
        " attempts, first_failed_at FROM dead_letters WHERE kind = 'change'",
    ),
    "a letter of a change that lives": Damage(
        "letter without a dead row",
        "INSERT INTO dead_letters (id, kind, subject_id, webhook_id, blame, error,"
        " fingerprint, attempts, first_failed_at)"
        f" SELECT '{ANOTHER_ID}', 'change', id, webhook_id, 'ours', 'x', 'x', 1, now()"
        f" FROM webhook_changes WHERE id = {UNOWNED}",
    ),
    "a dead change is called processed": Damage(
        "change in a wrong state + letter without a dead row",
        "UPDATE webhook_log SET processed = true, changes_left = 0 WHERE changes_left > 0;"
        f"UPDATE webhook_changes SET state = 'processed' WHERE id = {DEAD}",
    ),
    "a letter of another webhook": Damage(
        "letter of another webhook",
        f"UPDATE dead_letters SET webhook_id = {UNOWNED_WEBHOOK} WHERE kind = 'change'",
    ),
    # events of changes
    "an event is gone": Damage("event lost", deleted("events", MESSAGE), untold()),
    "an event was not told": Damage("event never told", told=untold()),
    "an event without a row": Damage("event told without a row", deleted("events", MESSAGE)),
    "an event to no queue": Damage(
        "event told to no queue", f"UPDATE events SET is_unrouted = true WHERE id = {MESSAGE}",
    ),
    "an event is not published": Damage(
        "event not published",
        f"UPDATE events SET published_at = NULL WHERE id = {MESSAGE}", untold(),
    ),
    "an event under two ids": Damage("event told under two ids", told=again(id=ANOTHER_ID)),
    "an event under another id": Damage(
        "event told under another id",
        f"UPDATE events SET id = '{ANOTHER_ID}' WHERE id = {MESSAGE}", otherwise(id=ANOTHER_ID),
    ),
    "an event to another organization": Damage(
        "event told to another organization",
        f"UPDATE events SET organization_id = '{OTHER_OWNER}' WHERE id = {MESSAGE}",
        otherwise(organization_id=OTHER_OWNER),
    ),
    "the row of an event says otherwise": Damage(
        "row of an event changed",
        f"UPDATE events SET organization_id = '{OTHER_OWNER}' WHERE id = {MESSAGE}",
    ),
    "an event with other content": Damage(
        "event told with other content", told=otherwise(data={"x": 1}),
    ),
    "an event without its content": Damage(
        "event told with other content", told=otherwise(data=None),
    ),
    "an event without its contact": Damage("event told with other content", told=without_contact),
    "an event of another webhook": Damage(
        "event told with another envelope", told=otherwise(webhook_id=ANOTHER_ID),
    ),
    "an event of another time": Damage(
        "event told with another envelope",
        told=otherwise(occurred_at="2026-01-01T00:00:00+00:00"),
    ),
    "an event of another version": Damage(
        "event told with another envelope", told=otherwise(version=2),
    ),
    "an event with a revision": Damage(
        "event told with another envelope + row of an event changed", told=otherwise(revision=1),
    ),
    "an event with a property more": Damage(
        "event told with another envelope", told=otherwise(more=1),
    ),
    "an event under another routing key": Damage(
        "event told with another envelope", told=misaddressed,
    ),
    "an event of nobody's change": Damage(
        "event never told + event nobody is owed", EVENT_OF_NOBODY,
    ),
    # connections
    "a connection is gone": Damage(
        "connection lost", deleted_of_waba("whatsapp_connections", NOBODYS),
    ),
    "an owned connection is gone": Damage(
        "connection lost + era lost", deleted_of_waba("whatsapp_connections", OTHER),
    ),
    "a connection of no webhook": Damage(
        "connection of no webhook",
        f"INSERT INTO whatsapp_connections (id, waba_id) VALUES ('{ANOTHER_ID}', '1')",
    ),
    "another state": Damage(
        "connection's state wrong", of_waba("whatsapp_connections", "state = 'active'", NOBODYS),
    ),
    "another reason": Damage(
        "connection's state wrong", of_waba("whatsapp_connections", "reason = 'x'", NOBODYS),
    ),
    "another reason than was told": Damage(
        "connection's state wrong + transition wrong",
        of_waba("whatsapp_connections", "reason = 'x'"),
    ),
    "another state than was told": Damage(
        "connection's state wrong + transition wrong",
        of_waba("whatsapp_connections", "state = 'active'"),
    ),
    "another owner": Damage(
        "connection's owner wrong",
        of_waba("whatsapp_connections", f"organization_id = '{OTHER_OWNER}'"),
    ),
    "another reason for the owner": Damage(
        "connection's owner wrong", of_waba("whatsapp_connections", "attribution = 'claimed'"),
    ),
    "a fact is gone": Damage("fact lost", "DELETE FROM connection_facts WHERE name = 'quality'"),
    "a fact with another value": Damage(
        "fact wrong", "UPDATE connection_facts SET value = 'x' WHERE name = 'quality'",
    ),
    "a fact of another time": Damage(
        "fact wrong", "UPDATE connection_facts SET at = now() WHERE name = 'quality'",
    ),
    "a fact that no webhook says": Damage(
        "fact wrong",
        "INSERT INTO connection_facts (waba_id, digits, name, value, at, is_takedown)"
        f" VALUES ('{OTHER}', '', 'ban', 'disabled', now(), true)",
    ),
    "a number is gone": Damage("number lost", "DELETE FROM phone_numbers"),
    "a number of no webhook": Damage(
        "number of no webhook",
        f"INSERT INTO phone_numbers (waba_id, digits) VALUES ('{OTHER}', '15550001111')",
    ),
    "a fact of a WABA that no webhook names": Damage(
        "fact wrong",
        "INSERT INTO connection_facts (waba_id, digits, name, value, at, is_takedown)"
        " VALUES ('1', '', 'app', 'installed', now(), false)",
    ),
    "a number of a WABA that no webhook names": Damage(
        "number of no webhook",
        "INSERT INTO phone_numbers (waba_id, digits) VALUES ('1', '15550001111')",
    ),
    "a follow-up is left": Damage(
        "follow-up not done", "INSERT INTO follow_ups (id, kind, subject)"
        f" VALUES ('{ANOTHER_ID}', 'attribute', '{OWNED}')",
    ),
    "a read of Meta that is still to come": Damage(
        "", "INSERT INTO follow_ups (id, kind, subject)"
        f" VALUES ('{ANOTHER_ID}', 'read', '{OTHER}')",
    ),
    # eras
    "an era is gone": Damage("era lost", deleted_of_waba("connection_eras", OWNED)),
    "an era of another organization": Damage(
        "era wrong", of_waba("connection_eras", f"organization_id = '{OTHER_OWNER}'"),
    ),
    "an era is suspended": Damage("era wrong", of_waba("connection_eras", "suspended_at = now()")),
    "an era that was claimed": Damage("era wrong", of_waba("connection_eras", "basis = 'claimed'")),
    "an era beside another": Damage(
        "era that nobody began + eras overlap",
        "INSERT INTO connection_eras (id, waba_id, organization_id, basis, began_at,"
        f" proven_at, ended_at, end_reason) VALUES ('{ANOTHER_ID}', '{OWNED}', '{OWNER}',"
        " 'claimed', now(), now(), now(), 'released')",
    ),
    "an era has ended": Damage(
        "era wrong", of_waba("connection_eras", "ended_at = now(), end_reason = 'released'"),
    ),
    "an era that ended too late": Damage(
        "eras overlap", "UPDATE connection_eras SET ended_at = now()"
        f" WHERE waba_id = '{TAKEN_OVER}' AND ended_at IS NOT NULL",
    ),
    "an era of nobody": Damage(
        "era that nobody began",
        "INSERT INTO connection_eras (id, waba_id, organization_id, basis, began_at,"
        f" proven_at) VALUES ('{ANOTHER_ID}', '{NOBODYS}', '{OWNER}', 'claimed', now(),"
        " now())",
    ),
    # transitions
    "a transition is gone": Damage(
        "transition lost", deleted("events", TRANSITION), untold(is_transition),
    ),
    "a transition under two ids": Damage(
        "event told without a row + transition told twice",
        told=again(is_transition, id=ANOTHER_ID),
    ),
    "a transition under two revisions": Damage(
        "event told without a row + transition that never was",
        told=again(is_transition, id=ANOTHER_ID, revision=99),
    ),
    "a transition to another organization": Damage(
        "event told to another organization",
        f"UPDATE events SET organization_id = '{OTHER_OWNER}' WHERE id = {TRANSITION}",
        otherwise(is_transition, organization_id=OTHER_OWNER),
    ),
    "a transition of another type": Damage(
        "row of an event changed + transition wrong",
        told=otherwise(is_transition, type="connection.active"),
    ),
    "a transition for another reason of the owner": Damage(
        "transition wrong", f"UPDATE events SET data = data || '{{\"attribution\": \"claimed\"}}'"
        f" WHERE id = {TRANSITION}", with_data(is_transition, attribution="claimed"),
    ),
    "a transition to a state that no webhook brings": Damage(
        "transition wrong",
        "UPDATE events SET type = 'connection.active',"
        f" data = data || '{{\"state\": \"active\"}}' WHERE id = {TRANSITION}",
        with_data(is_transition, "connection.active", state="active"),
    ),
    "the row of a transition says otherwise": Damage(
        "row of an event changed",
        f"UPDATE events SET data = data || '{{\"reason\": \"x\"}}' WHERE id = {TRANSITION}",
    ),
    "a transition to the same state": Damage(
        "transition wrong",
        "INSERT INTO events (id, type, organization_id, waba_id, revision, data,"
        f" published_at) SELECT '{ANOTHER_ID}', type, organization_id, waba_id,"
        f" revision + 1, data, now() FROM events WHERE id = {TRANSITION};"
        + of_waba("whatsapp_connections", "revision = revision + 1"), repeated,
    ),
    "a passing state that no webhook brings": Damage(
        "transition wrong",
        f"UPDATE events SET data = data || '{{\"reason\": \"x\"}}' WHERE id = {FIRST_TRANSITION}",
        with_data(is_first_transition, reason="x"),
    ),
    "a transition of an orphan": Damage(
        "transition that never was",
        TRANSITION_OF_NOBODY, again(is_first_transition, id=ANOTHER_ID, waba_id=NOBODYS),
    ),
    "a transition of a WABA that no webhook names": Damage(
        "event told without a row + transition that never was",
        told=again(is_first_transition, id=ANOTHER_ID, waba_id="1"),
    ),
    "a transition told again otherwise": Damage(
        "event told to another organization + row of an event changed",
        told=again(is_first_transition, organization_id=OTHER_OWNER),
    ),
}  # fmt: skip
