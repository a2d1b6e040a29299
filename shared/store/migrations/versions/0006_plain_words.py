"""Plain words: rename columns, a type and a fact to the names that the code uses."""

from shared.store.migrations.statements import execute

revision = "0006"
down_revision = "0005"

# Facts first: nobody waits while they are scanned. Who ran old code beside the new schema may have
# written a fact under both names: the one with the name to come goes.
UP = """
DELETE FROM connection_facts AS later USING connection_facts AS earlier
WHERE later.name = 'webhook_received' AND earlier.name = 'heard'
    AND (later.waba_id, later.digits) = (earlier.waba_id, earlier.digits);
UPDATE connection_facts SET name = 'webhook_received' WHERE name = 'heard';
ALTER TYPE road RENAME TO stored_via;
ALTER TABLE webhook_log RENAME COLUMN road TO stored_via;
ALTER TABLE replays RENAME COLUMN kept TO skipped;
ALTER TYPE dead_letter_kind RENAME VALUE 'envelope' TO 'message';
ALTER TABLE whatsapp_onboarding RENAME COLUMN claimed_waba_id TO session_waba_id;
"""

DOWN = """
DELETE FROM connection_facts AS later USING connection_facts AS earlier
WHERE later.name = 'heard' AND earlier.name = 'webhook_received'
    AND (later.waba_id, later.digits) = (earlier.waba_id, earlier.digits);
UPDATE connection_facts SET name = 'heard' WHERE name = 'webhook_received';
ALTER TABLE whatsapp_onboarding RENAME COLUMN session_waba_id TO claimed_waba_id;
ALTER TYPE dead_letter_kind RENAME VALUE 'message' TO 'envelope';
ALTER TABLE replays RENAME COLUMN skipped TO kept;
ALTER TABLE webhook_log RENAME COLUMN stored_via TO road;
ALTER TYPE stored_via RENAME TO road;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
