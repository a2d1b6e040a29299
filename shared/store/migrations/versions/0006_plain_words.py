"""Plain words: rename columns, a type and a fact to the names that the code uses."""

from shared.store.migrations.statements import execute

revision = "0006"
down_revision = "0005"

UP = """
ALTER TYPE road RENAME TO stored_via;
ALTER TABLE webhook_log RENAME COLUMN road TO stored_via;
ALTER TABLE replays RENAME COLUMN kept TO skipped;
ALTER TYPE dead_letter_kind RENAME VALUE 'envelope' TO 'message';
ALTER TABLE whatsapp_onboarding RENAME COLUMN claimed_waba_id TO session_waba_id;
UPDATE connection_facts SET name = 'webhook_received' WHERE name = 'heard';
"""

DOWN = """
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
