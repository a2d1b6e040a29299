"""Count on a row how often its attempts were interrupted: it is isolated, and rests longer."""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0009"
down_revision = "0008"

UP = """
ALTER TABLE webhook_log ADD COLUMN IF NOT EXISTS interruptions smallint NOT NULL DEFAULT 0;
ALTER TABLE webhook_changes ADD COLUMN IF NOT EXISTS interruptions smallint NOT NULL DEFAULT 0;
ALTER TABLE follow_ups ADD COLUMN IF NOT EXISTS interruptions smallint NOT NULL DEFAULT 0;
"""

DOWN = """
ALTER TABLE follow_ups DROP COLUMN interruptions;
ALTER TABLE webhook_changes DROP COLUMN interruptions;
ALTER TABLE webhook_log DROP COLUMN interruptions;
"""


def upgrade() -> None:
    execute(UP)
    # Beside webhook_log_tried_idx, which the code before this version uses.
    create_index_concurrently(
        "webhook_log_isolated_idx",
        "webhook_log (lease_until, id)"
        " WHERE state = 'unsplit' AND (attempts > 0 OR interruptions > 0)",
    )


def downgrade() -> None:
    execute(DOWN)
